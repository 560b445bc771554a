//! What can be asked for, as clap reads it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use polyloop::{Address, Config};
use polyloop_models::{Model, Options, Variant};

use crate::mistake::Mistake;
use crate::protocols::{Builtin, Cost};
use crate::transport::Transport;
use crate::{compare, transport, units};

#[derive(Debug, Parser)]
#[command(
    name = "polyloop",
    version,
    about = "Write the protocol once, serve it with any multiplexer or with none, measure the difference",
    long_about = None,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command, polyloop compares: it runs five of the models under the same load.\n\n\
Examples:\n  \
polyloop                                  compare five models in under 90 seconds\n  \
polyloop --models all                     compare all of them\n  \
polyloop --models mio,poll --rounds 21    compare two of them more closely\n  \
polyloop --models epoll,epoll:edge        compare two variants of one model\n  \
polyloop serve --model mio --listen 127.0.0.1:7000\n  \
polyloop load --target 127.0.0.1:7000 --connections 64 --duration 5s\n\n\
The exit code is 0, 1 for a failure, 2 for a mistake in the arguments, 130 after an interrupt."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) compare: CompareArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Compare models, and other servers, under the same load
    Compare(Box<CompareArgs>),
    /// Show what a comparison has saved, also if it was interrupted
    Report(ReportArgs),
    /// Serve a protocol with one model
    Serve(ServeArgs),
    /// Load a server and check every byte of its answers
    Load(LoadArgs),
    /// Show what readiness means: what each system call and each backend tells of some seventy situations
    Atlas(AtlasArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
polyloop compare\n  \
polyloop compare --scenarios idle --connections 9064 --active 64\n  \
polyloop compare --models mio,thread --peer asyncio=python3,examples/asyncio_peer.py\n  \
polyloop compare --models mio,thread --scenarios active --protocol work --sleep 1ms\n  \
polyloop compare --transport udp\n  \
polyloop compare --out quiet.json                      then: polyloop report quiet.json\n\n\
A peer is started with --listen, --control and --backlog, or --transport udp instead of the\n\
last, and answers lines on its standard input: docs/measuring.md says which.")]
pub(super) struct CompareArgs {
    /// The models to compare, separated by commas, with settings behind colons; all for every one,
    /// an empty list for peers only
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "select,poll,epoll,mio,thread"
    )]
    pub(super) models: Vec<String>,
    #[command(flatten)]
    pub(super) settings: ModelArgs,
    /// Another server to compare with
    #[arg(long, value_name = "NAME=PROGRAM[,ARG...]", value_parser = parse_peer)]
    pub(super) peer: Vec<compare::Contestant>,
    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,
    /// The scenarios, separated by commas: active, idle, short [default: all; short is for streams]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) scenarios: Vec<String>,
    /// How often everything is measured; six is the least that allows a verdict
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: u32,
    /// How long each measurement lasts
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = units::parse_time)]
    pub(super) duration: Duration,
    /// How long requests are made before each measurement
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = units::parse_time)]
    pub(super) warmup: Duration,
    /// Connections in every scenario, instead of its own number
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(super) connections: Option<usize>,
    /// How many of them make requests, instead of the scenario's share; not in short
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(super) active: Option<usize>,
    /// The contestant that the others are divided by [default: the first]
    #[arg(long, value_name = "NAME")]
    pub(super) baseline: Option<String>,
    /// How far from it a contestant may be and still count as the same
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0, value_parser = parse_percent)]
    pub(super) margin: f64,
    /// What the order of the measurements follows from [default: the time]
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Where to save the results [default: results/compare-<time>.json]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Print the results as JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// What only some models know. Each stands for a setting behind the name of such a model.
#[derive(Args, Debug)]
pub(super) struct ModelArgs {
    /// How many threads a pool has [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Options::MOST_THREADS)))]
    pub(super) threads: Option<u32>,
    /// How epoll tells readiness: for as long as it lasts, or when something new happens
    /// [default: level]
    #[arg(long, value_name = "level|edge", value_parser = ["level", "edge"], hide_possible_values = true)]
    pub(super) trigger: Option<String>,
    /// Let select hold more descriptors than FD_SETSIZE
    #[arg(long)]
    pub(super) select_unlimited: bool,
    /// Move datagrams several at a call, where the system can: Linux
    #[arg(long)]
    pub(super) batches: bool,
    /// How many loops serve, each on a thread of its own; how many connections each took is told at
    /// the end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Options::MOST_LOOPS)))]
    pub(super) loops: Option<u32>,
    /// Which of several loops takes a connection: the first accepts for all, or each listens on the
    /// same port [default: round-robin]
    #[arg(long, value_name = "round-robin|least-loaded|reuse-port",
        value_parser = ["round-robin", "least-loaded", "reuse-port"], hide_possible_values = true)]
    pub(super) accept: Option<String>,
}

impl ModelArgs {
    /// The settings that were given, each with its flag.
    pub(super) fn given(&self) -> Vec<(&'static str, String)> {
        let mut given = Vec::new();
        given.extend(self.threads.map(|threads| ("--threads", format!("threads={threads}"))));
        given.extend(self.batches.then(|| ("--batches", "batches".to_owned())));
        given.extend(self.trigger.iter().map(|trigger| ("--trigger", trigger.clone())));
        if self.select_unlimited {
            given.push(("--select-unlimited", "unlimited".to_owned()));
        }
        given.extend(self.loops.map(|loops| ("--loops", format!("loops={loops}"))));
        given.extend(self.accept.iter().map(|accept| ("--accept", accept.clone())));
        given
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
polyloop report results/compare-20261123-081824.json\n\n\
It prints the table and the notes of as many rounds as are in the file, and measures nothing.")]
pub(super) struct ReportArgs {
    /// What polyloop compare saved
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = serve_help())]
pub(super) struct ServeArgs {
    /// The model that holds the connections, with settings of its own behind colons
    #[arg(long, value_name = "NAME[:SETTING]", default_value_t = Variant::from(Model::Mio))]
    pub(super) model: Variant,
    #[command(flatten)]
    pub(super) settings: ModelArgs,
    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,
    /// Where to listen, HOST:PORT or unix:PATH; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7000", value_parser = transport::parse_address)]
    pub(super) listen: Address,
    /// How many connections may wait to be accepted [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) backlog: Option<u32>,
    /// How long a connection may stay without a byte in either direction; 0 is for ever
    /// [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub(super) idle_timeout: Option<Duration>,
    /// How long a message may stand unfinished; 0 is for ever [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub(super) read_timeout: Option<Duration>,
    /// The longest datagram that is taken whole; a longer one is told as truncated, and not answered
    /// [default: 65507]
    #[arg(long, value_name = "BYTES", value_parser = parse_count)]
    pub(super) max_datagram: Option<usize>,
    /// Answer a parent on standard input and output, and end with it
    #[arg(long)]
    pub(super) control: bool,
    /// Run on this processor only
    #[arg(long, value_name = "PROCESSOR")]
    pub(super) pin: Option<usize>,
}

impl ServeArgs {
    /// Backlog, deadlines and limits, if they are of what the transport has.
    pub(super) fn config(&self) -> Result<Config, Mistake> {
        let of_connections = [
            ("--backlog", self.backlog.is_some()),
            ("--idle-timeout", self.idle_timeout.is_some()),
            ("--read-timeout", self.read_timeout.is_some()),
        ];
        match self.protocol.transport {
            Transport::Tcp if self.max_datagram.is_some() => {
                return Err(Mistake("--max-datagram goes with --transport udp".to_owned()));
            }
            Transport::Tcp => {}
            Transport::Udp => {
                if let Some((flag, _)) = of_connections.iter().find(|(_, given)| *given) {
                    let text = format!("{flag} is for connections: udp has none, leave it out");
                    return Err(Mistake(text));
                }
            }
        }
        let deadline = |time: Duration| (!time.is_zero()).then_some(time);
        let default = Config::default();
        Ok(Config {
            backlog: self.backlog.unwrap_or(default.backlog),
            idle: self.idle_timeout.map_or(default.idle, deadline),
            read: self.read_timeout.map_or(default.read, deadline),
            max_datagram: self.max_datagram.unwrap_or(default.max_datagram),
            ..default
        })
    }
}

/// The examples and lists under the help of `serve`.
fn serve_help() -> String {
    let mut help = String::from(
        "Examples:\n  \
polyloop serve --model mio --listen 127.0.0.1:7000     then, elsewhere: nc 127.0.0.1 7000\n  \
polyloop serve --model epoll --trigger edge            the same as --model epoll:edge\n  \
polyloop serve --model poll --protocol http            then: curl http://127.0.0.1:7000/hello\n  \
polyloop serve --model thread --protocol work --sleep 2ms\n  \
polyloop serve --model mio --transport udp             then: nc -u 127.0.0.1 7000\n  \
RUST_LOG=polyloop=debug polyloop serve                 shows who comes and goes; trace: all\n\nModels:\n",
    );
    for model in Model::ALL {
        let settings = match model.settings() {
            "" => String::new(),
            settings => format!(" (settings: {settings})"),
        };
        help += &format!("  {:10}{}{settings}\n", model.name(), model.summary());
    }
    help += "\nProtocols:\n";
    for protocol in Builtin::ALL {
        help += &format!("  {:10}{}\n", protocol.name(), protocol.summary());
    }
    help
}

/// What connections say, and what carries it.
#[derive(Args, Debug)]
pub(super) struct ProtocolArgs {
    /// What carries requests: streams, or datagrams of the protocol echo
    #[arg(long, value_name = "NAME", value_enum, default_value_t, hide_possible_values = true)]
    pub(super) transport: Transport,
    /// What connections say: echo, line, frames, http or work
    #[arg(long, value_name = "NAME", default_value_t = Builtin::Echo)]
    pub(super) protocol: Builtin,
    /// The processor time that a request of the protocol work takes
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub(super) work: Option<Duration>,
    /// How long a request of the protocol work sleeps, after it has worked
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub(super) sleep: Option<Duration>,
}

impl ProtocolArgs {
    /// What a request of `work` takes, if the protocol and its transport fit.
    pub(super) fn cost(&self) -> Result<Cost, Mistake> {
        self.transport.check(self.protocol)?;
        let cost =
            Cost { work: self.work.unwrap_or_default(), sleep: self.sleep.unwrap_or_default() };
        match (self.protocol == Builtin::Work, cost != Cost::default()) {
            (true, false) => {
                Err(Mistake("work takes some time: say --work 2ms or --sleep 2ms".into()))
            }
            (false, true) => Err(Mistake("--work and --sleep go with --protocol work".into())),
            _ => Ok(cost),
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
polyloop load --target 127.0.0.1:7000\n  \
polyloop load --target 127.0.0.1:7000 --connections 1000 --active 10 --duration 10s\n  \
polyloop load --target 127.0.0.1:7000 --rate 20000     latency that no slow server can hide\n  \
polyloop load --target 127.0.0.1:7000 --short          connect, one request, close\n  \
polyloop load --target 127.0.0.1:7000 --protocol http\n  \
polyloop load --target 127.0.0.1:7000 --transport udp  datagrams; those that are lost are counted\n\n\
Every byte is checked. The exit code is 1 if one was wrong or nothing was answered.")]
pub(super) struct LoadArgs {
    /// The server, HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", value_parser = transport::parse_address)]
    pub(super) target: Address,
    /// What carries requests: streams, or datagrams of the protocol echo
    #[arg(long, value_name = "NAME", value_enum, default_value_t, hide_possible_values = true)]
    pub(super) transport: Transport,
    /// What it speaks: echo, line, frames, http or work
    #[arg(long, value_name = "NAME", default_value_t = Builtin::Echo)]
    pub(super) protocol: Builtin,
    /// Connections that are held at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = parse_count)]
    pub(super) connections: usize,
    /// How many of them make requests; the others made one and are silent [default: all]
    #[arg(long, value_name = "N", value_parser = parse_count, conflicts_with = "short")]
    pub(super) active: Option<usize>,
    /// The bytes of a message, without what a protocol adds to it; a datagram has 8 to 65507
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = parse_count)]
    pub(super) size: usize,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::parse_time)]
    pub(super) duration: Duration,
    /// End after exactly so many requests instead
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    pub(super) requests: Option<u64>,
    /// How long requests are made before measuring
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = units::parse_time)]
    pub(super) warmup: Duration,
    /// Open loop: so many requests a second in all, on a schedule that does not wait
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    pub(super) rate: Option<f64>,
    /// Connect, one request, close; the client closes first
    #[arg(long)]
    pub(super) short: bool,
    /// How long a request may take before its connection counts as failed, or its datagram as lost
    /// [default: 5s, for datagrams 200ms]
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub(super) timeout: Option<Duration>,
    /// What the contents of the messages follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Stop between phases for a parent on standard input and output, and end with it
    #[arg(long)]
    pub(super) control: bool,
    /// Run on this processor only
    #[arg(long, value_name = "PROCESSOR")]
    pub(super) pin: Option<usize>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
polyloop atlas\n  \
polyloop atlas --list                        the names of all scenarios\n  \
polyloop atlas half-close closed reset       only these\n  \
polyloop atlas --explain pipe-writer-gone    why it is so\n  \
polyloop atlas --backend poll,mio --json")]
pub(super) struct AtlasArgs {
    /// The scenarios to play [default: all]
    #[arg(value_name = "SCENARIO")]
    pub(super) scenarios: Vec<String>,
    /// The backends to show, and the system calls beneath them, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) backend: Vec<String>,
    /// List the scenarios, and play none
    #[arg(long, conflicts_with_all = ["scenarios", "backend", "json"])]
    pub(super) list: bool,
    /// Say why one scenario comes out as it does
    #[arg(long, value_name = "SCENARIO", conflicts_with_all = ["scenarios", "json", "list"])]
    pub(super) explain: Option<String>,
    /// Print the atlas as JSON instead of tables
    #[arg(long)]
    pub(super) json: bool,
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.replace([',', '_'], "").parse() {
        Ok(0) | Err(_) => Err("write a whole number, 1 or more".to_owned()),
        Ok(number) if number > 1 << 30 => Err("that is more than any machine can do".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// From one in a quarter of an hour, which is longer than anybody waits.
const RATES: RangeInclusive<f64> = 1e-3..=1e9;

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.replace([',', '_'], "").parse::<f64>() {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        _ => Err("write requests a second from 0.001 to 1e9, such as 20000".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("write a percentage from 0 to 100, such as 3".to_owned()),
    }
}

fn parse_peer(text: &str) -> Result<compare::Contestant, String> {
    let (name, command) = text
        .split_once('=')
        .filter(|(name, command)| !name.is_empty() && !command.is_empty())
        .ok_or("write NAME=PROGRAM, such as bare-mio=target/release/bare_mio")?;
    let mut words = command.split(',').map(str::to_owned);
    Ok(compare::Contestant {
        name: name.to_owned(),
        program: words.next().unwrap_or_default().into(),
        arguments: words.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_compare() {
        let cli = Cli::try_parse_from(["polyloop", "--rounds", "9"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.compare.rounds, 9);
        assert_eq!(cli.compare.models, ["select", "poll", "epoll", "mio", "thread"]);
    }

    #[test]
    fn a_deadline_of_zero_is_for_ever() {
        let config = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["polyloop", "serve"], arguments].concat()).unwrap();
            let Some(Command::Serve(args)) = cli.command else { panic!("serve was asked for") };
            args.config().map_err(|usage| usage.0).unwrap()
        };
        let never = config(&["--idle-timeout", "0", "--read-timeout", "0s"]);
        assert_eq!((never.idle, never.read), (None, None));
        let soon = config(&["--idle-timeout", "1ms"]);
        let default = Config::default();
        assert_eq!((soon.idle, soon.read), (Some(Duration::from_millis(1)), default.read));
    }

    #[test]
    fn peers_have_a_name_a_program_and_arguments() {
        let peer = parse_peer("mine=./server,--fast,--loops=2").unwrap();
        assert_eq!(peer.name, "mine");
        assert_eq!(peer.program, PathBuf::from("./server"));
        assert_eq!(peer.arguments, ["--fast", "--loops=2"]);
        for wrong in ["mine", "=x", "mine="] {
            assert!(parse_peer(wrong).is_err(), "{wrong}");
        }
    }
}
