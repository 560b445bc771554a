use super::*;
use crate::compare::cell::{Cell, Measured, Outcome};
use crate::compare::plan::{Contestant, Scenario};
use crate::compare::save::FORMAT;
use crate::compare::summary::summarise;
use crate::control::{Counters, SYSTEM_CALLS};
use crate::load::{Errors, Latency, Losses, Report};
use crate::process::{Machine, Usage};
use crate::protocols::{Builtin, Cost};
use crate::transport::Transport;

/// A round in which a request costs so many nanoseconds of processor time.
fn measured(processor_ns: u64) -> Outcome {
    Outcome::Measured(Box::new(Measured {
        load: Report {
            requests: 1_000_000,
            seconds: 10.0,
            requests_per_second: 123_456.0,
            latency: Latency { p50_ns: 123_456, p99_ns: 999_400, ..Latency::default() },
            utilisation: Some(0.5),
            ..Report::default()
        },
        used: Usage {
            user_ns: Some(0),
            system_ns: Some(processor_ns * 1_000_000),
            undivided_ns: None,
            voluntary_switches: Some(1_000_000),
            involuntary_switches: Some(10_000),
        },
        counted: Some(Counters::from([(SYSTEM_CALLS.to_owned(), 2_070_000)])),
        counts_late: false,
        loops: Vec::new(),
        resident_before: Some(1_000_000),
        resident_connected: Some(27_400_000),
        connected: 1000,
        threads: Some(1002),
        raised_descriptor_limit: Some((1024, 20_000)),
    }))
}

fn results(contestants: &[(&str, &dyn Fn(u32) -> Outcome)], rounds: u32) -> Results {
    let scenarios = Scenario::all();
    let mut cells = Vec::new();
    for round in 0..rounds {
        for scenario in &scenarios {
            for (name, outcome) in contestants {
                cells.push(Cell {
                    round,
                    scenario: scenario.name.clone(),
                    contestant: (*name).to_owned(),
                    outcome: outcome(round),
                });
            }
        }
    }
    let mut results = Results {
        format: FORMAT,
        program: String::new(),
        command: Vec::new(),
        started: String::new(),
        machine: Machine {
            system: "linux".to_owned(),
            kernel: None,
            architecture: "x86_64".to_owned(),
            processor: None,
            processors: 2,
            cores: Vec::new(),
        },
        setup: Setup {
            protocol: Builtin::Echo,
            transport: Transport::Tcp,
            cost: Cost::default(),
            seed: 1,
            rounds,
            duration_s: 0.4,
            warmup_s: 0.1,
            backlog: 1024,
            margin: 0.03,
            baseline: contestants[0].0.to_owned(),
            processors: None,
            server_processors: Vec::new(),
            load_processor: None,
        },
        scenarios,
        contestants: contestants
            .iter()
            .map(|(name, _)| Contestant {
                name: (*name).to_owned(),
                program: "".into(),
                arguments: Vec::new(),
            })
            .collect(),
        rounds_done: rounds,
        cells,
        summary: Vec::new(),
        saved: None,
    };
    results.summary = summarise(&results);
    results
}

fn row<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("  {name} ");
    text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{name}: {text}"))
}

#[test]
fn a_row_holds_the_medians_and_the_paired_ratio() {
    // The machine slows down by half; thread stays 10 % dearer than mio.
    let mio = |round| measured(if round < 3 { 4000 } else { 6000 });
    let thread = |round| measured(if round < 3 { 4400 } else { 6600 });
    let text = draw(&results(&[("mio", &mio), ("thread", &thread)], 6));
    let fields = |name| row(&text, name).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(fields("mio"), "mio 123,000 123 µs 999 µs 5.00 µs 2.07 1.01 26.4 kB 1,002 1");
    assert_eq!(
        fields("thread"),
        "thread 123,000 123 µs 999 µs 5.50 µs 2.07 1.01 26.4 kB 1,002 1.10 1.10-1.10 ≠"
    );
    assert!(text.contains("raised from 1,024 to 20,000"));
    assert!(!text.contains("saturated") && !text.contains("Doubtful"));
}

#[test]
fn a_contestant_that_cannot_run_has_its_reason_in_its_row() {
    let reason =
        "the backend poll is refused on this system because ".to_owned() + &"of it ".repeat(20);
    let works = |_| measured(4000);
    let never = |_| Outcome::Failed(reason.clone());
    let text = draw(&results(&[("mio", &works), ("poll", &never)], 6));
    assert!(row(&text, "poll").contains("cannot run: the backend poll is refused"));
    // What was cut there stands in full beneath.
    let joined = text.replace('\n', " ");
    assert!(joined.contains(reason.trim()), "{text}");
}

#[test]
fn a_round_that_failed_is_told() {
    let works = |_| measured(4000);
    let once = |round| {
        if round == 2 {
            Outcome::Failed("out of luck".to_owned())
        } else {
            measured(4000)
        }
    };
    let text = draw(&results(&[("mio", &works), ("poll", &once)], 7));
    assert!(text.contains("active/poll: 1 of 7 rounds failed: out of luck."), "{text}");
    assert!(row(&text, "poll").ends_with("1.00 1.00-1.00 ="), "{text}");
}

#[test]
fn the_share_of_each_of_several_loops_is_told() {
    let one = |_| measured(4000);
    let by = |loops: Vec<u64>| match measured(4000) {
        Outcome::Measured(mut measured) => {
            measured.loops = loops;
            Outcome::Measured(measured)
        }
        failed => failed,
    };
    let three = |round| by(vec![300, 1, u64::from(round)]);
    let many = |_| by((1..=12).collect());
    let results = results(&[("mio", &one), ("three", &three), ("many", &many)], 6);
    let text = draw(&results).replace('\n', " ");
    let told =
        "Connections by loop, over all rounds: active/three: 1,800, 6, 15; active/many: 6 to \
                72 each; idle/three:";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("/mio:"), "{text}");
    let row = &results.summary[0];
    assert_eq!((row.contestant.as_str(), row.loops.len()), ("mio", 0));
}

#[test]
fn a_ratio_and_its_interval_say_what_the_verdict_says() {
    let write = |median, low, high, margin| {
        let interval = Interval { low, high, coverage: 0.96 };
        let verdict = verdict(interval, margin);
        ratio(&Ratio { median, interval, rounds: 9, verdict }, margin)
    };
    assert_eq!(write(1.02, 1.006, 1.05, 0.03), "1.02 1.01-1.05 ≠");
    assert_eq!(write(1.02, 1.004, 1.05, 0.03), "1.020 1.004-1.050 ≠");
    assert_eq!(write(0.95, 0.8, 0.9996, 0.03), "0.9500 0.8000-0.9996 ≠");
    // Beyond the margin by so little that two decimals would not show it.
    assert_eq!(write(1.0, 0.98, 1.034, 0.03), "1.000 0.980-1.034 ?");
    assert_eq!(write(1.0, 0.98, 1.0299, 0.03), "1.00 0.98-1.03 =");
    assert_eq!(write(1.0, 0.997, 1.004, 0.005), "1.00 1.00-1.00 =");
    assert_eq!(write(0.0384, 0.0041, 0.42, 0.03), "0.038 0.004-0.42 ≠");
    assert_eq!(write(12.34, 1.002, 1234.0, 0.03), "12.3 1.002->999 ≠");
}

#[test]
fn what_is_told_of_shares_is_neither_rounded_up_nor_away() {
    let mut results = results(&[("mio", &|_| measured(4000)), ("x", &|_| measured(4000))], 6);
    let mut draw_with = |margin| {
        results.setup.margin = margin;
        draw(&results).replace('\n', " ")
    };
    assert!(draw_with(0.005).contains("= the same within 0.5 %,"));
    assert!(draw_with(0.03).contains("= the same within 3 %,"));
    // Six rounds have 96.875 %.
    assert!(draw_with(0.03).contains("a probability of 96 % or more,"));
}

#[test]
fn a_datagram_that_was_lost_is_told() {
    let all = |_| measured(4000);
    let some_less = |_| match measured(4000) {
        Outcome::Measured(mut measured) => {
            measured.load.losses = Some(Losses { lost: 2, late: 1, timeout_s: 0.2 });
            Outcome::Measured(measured)
        }
        failed => failed,
    };
    let mut results = results(&[("mio", &all), ("poll", &some_less)], 6);
    results.setup.transport = Transport::Udp;
    let text = draw(&results).replace('\n', " ");
    let told = "active/poll: 12 of 6,000,012 datagrams lost, 6 of these answered later";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("is lost: no latency counts it."), "{text}");
    assert!(!text.contains("active/mio:") && !text.contains("all datagrams"), "{text}");
    results.summary.iter_mut().for_each(|row| row.lost = 0);
    let text = draw(&results).replace('\n', " ");
    assert!(text.contains("Transport udp: all datagrams were answered."), "{text}");
}

#[test]
fn a_round_that_failed_hides_no_connection_that_did() {
    let well = |_| measured(4000);
    let ill = |round| match measured(4000) {
        _ if round == 0 => Outcome::Failed("it said something unexpected".to_owned()),
        Outcome::Measured(mut measured) => {
            let first = Some("no answer in time".to_owned());
            measured.load.errors = Errors { timed_out: 2, first, ..Errors::default() };
            Outcome::Measured(measured)
        }
        failed => failed,
    };
    let text = draw(&results(&[("mio", &well), ("x", &ill)], 6)).replace('\n', " ");
    let told = "active/x: 1 of 6 rounds failed: it said something unexpected. active/x: 10 \
                connections failed; no latency counts them; the first: no answer in time.";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("active/mio:"), "{text}");
}

#[test]
fn a_baseline_that_differs_from_itself_spoils_the_run() {
    let base = |_| measured(4000);
    let again = |_| measured(5000);
    let text = draw(&results(&[("mio", &base), ("mio again", &again)], 6)).replace('\n', " ");
    let told = "Doubtful: mio came out different from itself in active, idle, short; the machine \
                was not quiet, or it is chance:";
    assert!(text.contains(told), "{text}");
}

#[test]
fn a_saturated_load_generator_is_told_where_it_spoils_something() {
    let busy_in = |rounds: u32| {
        move |round| match measured(4000) {
            Outcome::Measured(mut measured) => {
                measured.load.saturated = round < rounds;
                Outcome::Measured(measured)
            }
            failed => failed,
        }
    };
    let (free, once, busy) = (busy_in(0), busy_in(1), busy_in(6));
    let text = draw(&results(&[("mio", &free), ("poll", &busy)], 6)).replace('\n', " ");
    assert!(text.contains("in active (poll), idle (poll), short (poll):"), "{text}");
    let text = draw(&results(&[("mio", &busy), ("poll", &busy)], 6)).replace('\n', " ");
    assert!(text.contains("in active (all rows),"), "{text}");
    let all = [("mio", &free as _), ("poll", &once as _), ("select", &busy as _)];
    let text = draw(&results(&all, 6)).replace('\n', " ");
    assert!(text.contains("in active (poll in 1 of 6 rounds, select),"), "{text}");
    let text = draw(&results(&all[1..], 6)).replace('\n', " ");
    assert!(text.contains("in active (all rows in 1 to 6 of 6 rounds),"), "{text}");
    let text = draw(&results(&all[1..2], 6)).replace('\n', " ");
    assert!(text.contains("in active (all rows in 1 of 6 rounds),"), "{text}");
}

#[test]
fn a_server_that_was_as_busy_as_the_load_generator_is_told_apart() {
    // A thousand nanoseconds are a tenth of a processor.
    let with = |nanoseconds: u64, threads: u64| {
        move |_| match measured(nanoseconds) {
            Outcome::Measured(mut measured) => {
                measured.load.saturated = true;
                measured.threads = Some(threads);
                Outcome::Measured(measured)
            }
            failed => failed,
        }
    };
    let (free, busy, many) = (with(9_400, 2), with(9_600, 2), with(9_600, 66));
    let mut results = results(&[("mio", &free), ("select", &busy), ("thread", &many)], 6);
    let mut draw_on = |processors: &[usize]| {
        results.setup.server_processors = processors.to_vec();
        draw(&results).replace('\n', " ")
    };
    let (alone, both) = ("of its processor used, in active", "of what it had, in active");
    let text = draw_on(&[0]);
    assert!(text.contains(&format!("{alone} (mio)")), "{text}");
    assert!(text.contains(&format!("{both} (select, thread)")), "{text}");
    // One loop has no use for the second processor.
    let text = draw_on(&[0, 1]);
    assert!(text.contains(&format!("{alone} (mio, thread)")), "{text}");
    assert!(text.contains(&format!("{both} (select)")), "{text}");
}

#[test]
fn several_threads_on_one_processor_are_told() {
    let with = |threads: u64, loops: usize| {
        move |_| match measured(4000) {
            Outcome::Measured(mut measured) => {
                measured.threads = Some(threads);
                measured.loops = vec![1; loops];
                Outcome::Measured(measured)
            }
            failed => failed,
        }
    };
    let (one, many, two_loops) = (with(2, 0), with(66, 0), with(2, 2));
    let mut results = results(&[("mio", &one), ("thread", &many), ("mio:loops=2", &two_loops)], 6);
    results.setup.load_processor = Some(1);
    let mut draw_on = |processors: &[usize]| {
        results.setup.server_processors = processors.to_vec();
        draw(&results).replace('\n', " ")
    };
    let text = draw_on(&[0]);
    assert!(text.contains("had one processor together in active (thread, mio:loops=2)"), "{text}");
    assert!(text.contains("Servers ran on processor 0, the load generator on processor 1, of"));
    let text = draw_on(&[0, 2, 3, 4, 7]);
    assert!(!text.contains("together in"), "{text}");
    assert!(text.contains("Servers ran on the processors 0, 2-4, 7, the load"), "{text}");
    assert!(!text.contains("same core"), "{text}");

    results.machine.cores = vec![vec![0, 1]];
    for processors in [vec![0], vec![0, 2]] {
        results.setup.server_processors = processors;
        let text = draw(&results).replace('\n', " ");
        assert!(text.contains("load generator on processor 1 of the same core"), "{text}");
    }
}

#[test]
fn a_processor_that_nobody_used_is_told() {
    // Half a processor by the load generator, and by the server 0.6 of one or 0.1.
    let quiet = |_| measured(6000);
    let starved = |_| measured(1000);
    let text = draw(&results(&[("mio", &quiet), ("poll", &starved)], 6)).replace('\n', " ");
    assert!(text.contains("had enough to do in active (poll), idle (poll)"), "{text}");
    // It is known that somebody waited, and not for whom.
    assert!(text.contains("A server that waits") && text.contains("or a busy machine"), "{text}");
    assert!(!draw(&results(&[("mio", &quiet)], 6)).contains("enough to do"), "{text}");
}

#[test]
fn no_line_is_too_long_and_no_cell_wraps() {
    let dear = |_| measured(123_400_000);
    let name = "a-server-with-a-very-long-name-indeed";
    let text = draw(&results(&[("mio", &|_| measured(1)), (name, &dear), ("x", &dear)], 3));
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert!(!line.starts_with('%') && !line.ends_with(' '), "{line}");
    }
    // Two lines of header, and for each scenario its title and three rows.
    assert_eq!(text.lines().position(str::is_empty), Some(2 + 3 * 4), "{text}");

    // Where figures take the room of a name, they have it.
    let wide = |_| match measured(5152) {
        Outcome::Measured(mut measured) => {
            measured.load.requests_per_second = 1_234_567.0;
            measured.load.latency.p50_ns = 12_345;
            measured.load.latency.p99_ns = 1_234_567;
            measured.resident_connected = Some(0);
            measured.resident_before = Some(12_345_678);
            Outcome::Measured(measured)
        }
        failed => failed,
    };
    let text = draw(&results(&[("mio", &|_| measured(5000)), (name, &wide)], 6));
    let row = row(&text, "a-server…");
    assert_eq!(row.chars().count(), WIDTH, "{text}");
    assert!(row.ends_with(" 1.0304 1.0304-1.0304 ≠"), "{text}");
}

#[test]
fn too_few_rounds_are_no_ground_for_a_verdict() {
    let text = draw(&results(&[("mio", &|_| measured(4000)), ("x", &|_| measured(8000))], 3));
    assert!(row(&text, "x").ends_with("2.00 2.00-2.00 ?"), "{text}");
    assert!(text.replace('\n', " ").contains("six rounds are the fewest"), "{text}");
}
