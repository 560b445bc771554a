//! Comparisons as a user meets them: what is told and saved, and processes that end.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use polyloop_bench::compare::cell::Outcome;
use polyloop_bench::compare::{table, Results};
use polyloop_models::Model;

#[cfg(unix)]
use common::send;
use common::{peer, polyloop};

/// A comparison of the example peer with itself and a program that does not exist.
fn compare(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polyloop"));
    command
        .args(["compare", "--models", "", "--peer"])
        .arg(format!("peer={}", peer().display()))
        .args(["--peer", "ghost=no-such-program"])
        .args(["--warmup", "10ms", "--connections", "8", "--out"])
        .arg(out)
        .stdin(Stdio::null());
    command
}

#[test]
fn a_comparison_measures_what_it_can_and_gives_reasons_for_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new").join("results.json");
    let output = compare(&out)
        .args(["--rounds", "2", "--duration", "50ms", "--seed", "7"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // Once in each scenario; a long reason is told below the table again.
    assert_eq!(text.matches("  ghost  cannot run: ").count(), 3, "{text}");
    assert!(text.contains("cannot start no-such-program"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");

    let saved = std::fs::read_to_string(&out).unwrap();
    let results: Results = serde_json::from_str(&saved).unwrap();
    assert_eq!((results.rounds_done, results.setup.seed), (2, 7));
    assert_eq!(results.cells.len(), 2 * 3 * 3);
    // What was printed is drawn from what was saved, and from nothing else.
    assert_eq!(table::draw(&results), text);
    let shown = polyloop(&["report", out.to_str().unwrap()]);
    assert_eq!((shown.code, shown.stdout), (Some(0), text));
    for cell in &results.cells {
        match (&cell.outcome, cell.contestant.as_str()) {
            (Outcome::Failed(_), "ghost") => {}
            (Outcome::Measured(measured), "peer" | "peer again") => {
                assert!(measured.load.requests > 0);
                assert_eq!(measured.load.errors.total(), 0);
            }
            other => panic!("{other:?}"),
        }
    }
    // No partial file is left behind.
    assert_eq!(std::fs::read_dir(out.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_is_no_saved_comparison_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("text"), "requests\n/s").unwrap();
    std::fs::write(at("atlas"), "{\"backends\": []}").unwrap();
    std::fs::write(at("part"), "{\"format\": 2, \"program\": \"polyloop\"}").unwrap();
    std::fs::write(at("old"), "{\"format\": 1, \"cells\": 7}").unwrap();
    for (name, told) in [
        ("none", "cannot read "),
        ("text", "holds no results of a comparison: expected value"),
        ("atlas", "holds no results of a comparison: missing field `format`"),
        ("part", "holds no results of a comparison: missing field"),
        ("old", "old is of format 1 and this program knows format 2"),
    ] {
        let ended = polyloop(&["report", &at(name)]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{name}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{name}: {ended:?}");
        assert!(ended.stderr.contains(told), "{name}: {ended:?}");
    }
}

/// A model that serves fewer connections at once than the scenario has is not measured, and its row
/// says who would wait.
#[test]
fn a_comparison_shows_who_would_wait() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let arguments = "compare --models iterative,pool --threads 3 --scenarios active,short \
                     --connections 5 --rounds 1 --duration 20ms --warmup 5ms --out";
    let words = arguments.split_whitespace().chain([out.to_str().unwrap()]);
    let ended = polyloop(&words.collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = ended.stdout;
    let one = "cannot run: it serves one connection at a time: 4 of 5 wait in the backlog";
    let three = "cannot run: it serves 3 connections at a time: 2 of 5 wait in the backlog";
    if cfg!(target_os = "linux") {
        assert!(text.contains(one) && text.contains(three), "{text}");
    }
    assert!(text.contains("cannot run: it serves one connection at a time"), "{text}");
    // Short connections have their turn, one after the other.
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    for cell in results.cells.iter().filter(|cell| cell.scenario == "short") {
        assert!(matches!(&cell.outcome, Outcome::Measured(_)), "{cell:?}");
    }
}

#[test]
fn a_comparison_of_all_models_has_a_row_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let arguments = "compare --models all --scenarios active --connections 3 --rounds 1 \
                     --duration 20ms --warmup 5ms --out";
    let ended = polyloop(&[arguments.split(' ').collect(), vec![out.to_str().unwrap()]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for model in Model::ALL {
        let row = |line: &&str| line.split_whitespace().next() == Some(model.name());
        let row = ended.stdout.lines().find(row).unwrap_or_else(|| panic!("no {model}: {ended:?}"));
        // One at a time can't be active together; what a system lacks, it says.
        let runs = *model != Model::Iterative && Model::here().any(|here| here == *model);
        assert_eq!(row.contains(" cannot run: "), !runs, "{row}");
    }
    // What living processes use is known on Linux only, and nowhere is it that of their parent.
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    for row in results.summary.iter().filter(|row| row.rounds > 0) {
        let known = row.contestant != "process" || cfg!(target_os = "linux");
        assert_eq!(row.processor_ns.is_some(), known, "{row:?}");
        assert!(known || row.memory.is_none() && row.processor_ratio.is_none(), "{row:?}");
    }
}

#[test]
fn a_comparison_shows_the_share_of_each_loop() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let mut models = "mio,mio:loops=3,mio:loops=3:least-loaded".to_owned();
    if cfg!(target_os = "linux") {
        models += ",mio:loops=3:reuse-port";
    }
    let arguments = "compare --scenarios active,short --connections 6 --rounds 1 \
                     --duration 20ms --warmup 5ms --models";
    let words = arguments.split_whitespace().chain([&models, "--out", out.to_str().unwrap()]);
    let ended = polyloop(&words.collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = ended.stdout.replace('\n', " ");
    assert!(told.contains("Connections by loop, over all rounds: active/mio:loops=3: 2, 2, 2; "));
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    for row in &results.summary {
        let place = format!("{}/{}", row.scenario, row.contestant);
        let all: u64 = row.loops.iter().sum();
        match (row.contestant.contains("loops"), row.scenario.as_str()) {
            (false, _) => assert!(row.loops.is_empty(), "{place}"),
            (true, "active") => assert_eq!((row.loops.len(), all), (3, 6), "{place}: {row:?}"),
            // Those of the warm-up are not among the requests.
            (true, _) => assert!(row.loops.len() == 3 && all >= row.requests, "{place}: {row:?}"),
        }
        assert_eq!(told.contains(&format!("{place}: ")), !row.loops.is_empty(), "{told}");
        // However the load falls, nobody is left out by one who looks for the least loaded.
        assert!(!place.ends_with("least-loaded") || !row.loops.contains(&0), "{row:?}");
    }
}

#[test]
fn a_comparison_of_nothing_that_runs_fails() {
    let folder = tempfile::tempdir().unwrap();
    let ended = polyloop(&[
        "compare",
        "--models",
        "",
        "--peer",
        "ghost=no-such-program",
        "--rounds",
        "1",
        "--out",
        folder.path().join("results.json").to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("nothing could be measured"), "{ended:?}");
    assert!(ended.stdout.contains("cannot run"), "{ended:?}");
}

#[test]
fn results_that_cannot_be_saved_are_known_before_anything_runs() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let inside = file.path().join("results.json");
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(256));
    let no_file = folder.path().join("new").join("");
    let mut all = vec![&*inside, folder.path(), &long];
    if cfg!(unix) {
        all.push(&no_file);
    }
    for wrong in all {
        // Short, if it should run all the same.
        let arguments = "compare --models poll --scenarios active --rounds 1 --duration 1ms --out";
        let words = arguments.split(' ').chain([wrong.to_str().unwrap()]);
        let ended = polyloop(&words.collect::<Vec<_>>());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains("cannot save the results"), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// What is not in UTF-8 is no reason to fail, unless it would have to be saved as it is.
#[test]
#[cfg(target_os = "linux")]
fn names_that_are_no_text_are_met_before_anything_runs() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::process::CommandExt;

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(OsStr::from_bytes(b"\xff.json"));
    let output = compare(&out).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("its name is no text in UTF-8"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let out = folder.path().join("results.json");
    let output = compare(&out)
        .arg0(OsStr::from_bytes(b"\xff/polyloop"))
        .args(["--scenarios", "active", "--rounds", "1", "--duration", "20ms"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(results.command[0], "\u{fffd}/polyloop");
}

#[test]
#[cfg(unix)]
fn a_disk_that_fills_up_leaves_the_former_results() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    std::fs::write(&out, "former").unwrap();
    // A limit of a file's length stands for the disk. Not ignored, its signal would end the program.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
        .args([env!("CARGO_BIN_EXE_polyloop"), "compare", "--models", "", "--rounds", "1"])
        .args(["--peer", "ghost=no-such-program", "--out"])
        .arg(&out)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("cannot save the results"), "{text}");
    assert!(text.contains("File too large"), "{text}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("cannot run") && !table.contains("Saved in"), "{table}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "former");
    // No partial file is left behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn killing_a_comparison_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = compare(&folder.path().join("results.json"))
        .args(["--scenarios", "active", "--rounds", "1000", "--duration", "20s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A server and a load generator.
    let children = common::until(|| {
        let children = common::children(parent.id());
        (children.len() == 2).then_some(children)
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
    for child in children {
        common::until(|| (!common::is_alive(child)).then_some(()));
    }
}

#[test]
#[cfg(unix)]
fn an_interrupt_says_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let output = interrupt(&out, Stdio::piped());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("saved in") && text.contains("results.json, which"), "{text}");
    let saved: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert!(saved.rounds_done >= 1);
    let shown = polyloop(&["report", out.to_str().unwrap()]);
    assert_eq!((shown.code, shown.stdout), (Some(0), table::draw(&saved)));
}

#[test]
#[cfg(unix)]
fn an_interrupt_ends_it_when_nobody_can_be_told() {
    let folder = tempfile::tempdir().unwrap();
    let output = interrupt(&folder.path().join("results.json"), common::nobody_reads());
    assert_eq!(output.status.code(), Some(130));
}

/// Waits until the first round is saved.
#[cfg(unix)]
fn wait_for_results(out: &Path) {
    // Made without a byte, it is only tried.
    common::until(|| out.metadata().is_ok_and(|file| file.len() > 0).then_some(()));
}

/// As `nohup` ignores one, and a shell the other for what a script runs in the background.
#[test]
#[cfg(unix)]
fn a_signal_that_is_ignored_stays_so() {
    for signal in ["HUP", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("results.json");
        let inner = compare(&out);
        let mut parent = Command::new("sh")
            .args(["-c", &format!("trap '' {signal}; exec \"$0\" \"$@\"")])
            .arg(inner.get_program())
            .args(inner.get_args())
            .args(["--scenarios", "active", "--rounds", "5", "--duration", "20ms"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_results(&out);
        send(signal, parent.id());
        assert_eq!(parent.wait().unwrap().code(), Some(0), "{signal}");
        let saved = std::fs::read_to_string(&out).unwrap();
        let results: Results = serde_json::from_str(&saved).unwrap();
        assert_eq!(results.rounds_done, 5, "{signal}");
    }
}

/// Interrupts a comparison after its first round.
#[cfg(unix)]
fn interrupt(out: &Path, stderr: Stdio) -> std::process::Output {
    common::hand_down_no_ignored_signal();
    let parent = compare(out)
        .args(["--scenarios", "active", "--rounds", "1000", "--duration", "20ms"])
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    wait_for_results(out);
    send("INT", parent.id());
    parent.wait_with_output().unwrap()
}

/// A child of its own holds its standard error for half a minute.
#[test]
#[cfg(unix)]
fn a_peer_that_leaves_a_child_behind_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let peer = "parent=sh,-c,sleep 30 > /dev/null &";
    let arguments = "compare --models= --rounds 1 --scenarios active --out";
    let words = arguments.split(' ').chain([out.to_str().unwrap(), "--peer", peer]);
    let begun = std::time::Instant::now();
    let ended = polyloop(&words.collect::<Vec<_>>());
    assert!(begun.elapsed().as_secs() < 20, "{ended:?}");
    assert!(ended.stdout.contains("cannot run: the server ended unasked"), "{ended:?}");
}

/// What this program shall log, who is measured need not.
#[test]
#[cfg(unix)]
fn who_is_measured_does_not_hear_what_shall_be_logged() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_polyloop"))
        .args(["compare", "--models", "", "--rounds", "1", "--scenarios", "active", "--peer"])
        .arg("teller=sh,-c,echo RUST_LOG is ${RUST_LOG-not set} >&2")
        .arg("--out")
        .arg(folder.path().join("results.json"))
        .env("RUST_LOG", "polyloop=trace")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("cannot run: RUST_LOG is not set"), "{text}");
}
