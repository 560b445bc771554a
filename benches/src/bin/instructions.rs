//! What serving a request costs in user space, counted rather than timed: instructions, with
//! valgrind's callgrind, and system calls, with strace.
//!
//! ```text
//! cargo run --release -p polyloop-benches --bin instructions
//! ```
//!
//! Each server runs twice under each tool, for a short and for a long load of 64 connections
//! with messages of 64 bytes. The difference of the two counts, divided by the difference of the
//! two numbers of requests, is the cost of a request: what starting, accepting and ending cost is
//! in both and cancels out.
//!
//! A server is started without `--control`: the thread that answers a parent makes glibc take a
//! longer way around each system call, and is no part of serving.
//!
//! valgrind up to 3.19 does not know that a thread may sleep in `io_uring_enter`, and hands a signal
//! to one that does only when it has run for long enough: such a server is kept busy until it ends.
//! Its figure may be off by some seven instructions for that.
//!
//! What is not seen: under valgrind a reading of the clock is a system call, so the instructions
//! that it takes in the kernel's shared page, where that has a clock, are not counted. strace sees
//! no such call, for there it is none.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    unix::main()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("instructions: valgrind and strace, which count here, do not exist on this system");
    ExitCode::FAILURE
}

#[cfg(unix)]
mod unix {
    use std::io::{self, BufRead, BufReader, ErrorKind, Read};
    use std::net::{SocketAddr, TcpStream};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::thread::{self, JoinHandle};
    use std::time::{Duration, Instant};

    use anyhow::{bail, ensure, Context};
    use clap::Parser;
    use comfy_table::{presets, CellAlignment, Table};
    use indicatif::{ProgressBar, ProgressStyle};
    use polyloop::Config;
    use polyloop_bench::control::Gate;
    use polyloop_bench::protocols::{Builtin, UnknownProtocol};
    use polyloop_bench::transport::Transport;
    use polyloop_bench::{cli, load, units};
    use polyloop_models::{Model, Variant};
    use rustix::process::{kill_process, Pid, Signal};
    use serde::Serialize;

    const CONNECTIONS: usize = 64;
    const SIZE: usize = 64;
    /// How long a server may take for all of its requests, under a tool.
    const PATIENCE: Duration = Duration::from_secs(300);
    /// How long a server may take to end by itself.
    const GRACE: Duration = Duration::from_millis(500);
    /// What else is counted, with its arguments.
    const PEERS: [&str; 9] = [
        "bare_pool --threads 64",
        "bare_select",
        "bare_poll",
        "bare_epoll",
        "bare_epoll --trigger edge",
        "bare_mio",
        "bare_uring",
        "bare_thread",
        "tokio_current_thread",
    ];

    /// Counts the user-space instructions and the system calls of a request
    #[derive(Debug, Parser)]
    #[command(
        name = "instructions",
        after_help = "Needs valgrind and strace. Build with --release: other builds count checks.\n\n\
Example:\n  \
cargo run --release -p polyloop-benches --bin instructions -- mio bare_mio\n  \
cargo run --release -p polyloop-benches --bin instructions -- mio mio/line mio/http"
    )]
    struct Arguments {
        /// Count only these: a model of polyloop, with its settings, with another protocol than echo
        /// as MODEL/PROTOCOL, over datagrams as MODEL/udp, or one of the others that are counted
        /// without this [default: all]
        #[arg(value_name = "SERVER", value_parser = parse_server)]
        servers: Vec<Server>,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    }

    /// A server that is counted.
    #[derive(Clone, Debug)]
    enum Server {
        Ours(Variant, Builtin),
        /// The echo over datagrams.
        Datagrams(Variant),
        Peer(&'static str),
    }

    /// Every model that this system has, the variants that cost otherwise, and the peers. Not those
    /// that serve fewer connections at once; nor `spin`, whose cost is one of time and not of
    /// requests; nor `process`, of which valgrind would count one process only, and which drives a
    /// connection as `thread` does.
    fn all() -> Vec<Server> {
        let variants = ["epoll:edge", "pool:threads=64"]
            .map(|name| name.parse::<Variant>().expect("it exists"));
        let ours = Model::ALL.iter().map(|&model| Variant::from(model)).chain(variants);
        let ours = ours.filter(|variant| variant.model().check().is_ok());
        let ours = ours.filter(|variant| match variant.model() {
            Model::Spin | Model::Process => false,
            model => {
                let at_once = model.connections_at_once(&variant.options(Config::default()));
                at_once.is_none_or(|at_once| at_once >= CONNECTIONS)
            }
        });
        let ours = ours.map(|variant| Server::Ours(variant, Builtin::Echo));
        let linux = |peer: &&str| peer.starts_with("bare_epoll") || *peer == "bare_uring";
        let here = |peer: &&str| cfg!(target_os = "linux") || !linux(peer);
        ours.chain(PEERS.into_iter().filter(here).map(Server::Peer)).collect()
    }

    fn parse_server(name: &str) -> Result<Server, String> {
        if let Some(peer) = PEERS.into_iter().find(|&peer| peer == name) {
            return Ok(Server::Peer(peer));
        }
        let (model, protocol) = name.split_once('/').unwrap_or((name, Builtin::Echo.name()));
        if protocol == "udp" {
            return model.parse().map(Server::Datagrams).map_err(|unknown| format!("{unknown}"));
        }
        let protocol = protocol.parse().map_err(|unknown: UnknownProtocol| unknown.to_string())?;
        model.parse().map(|model| Server::Ours(model, protocol)).map_err(|_| {
            let names: Vec<_> = all().iter().map(Server::name).collect();
            format!("there are: {}", names.join(", "))
        })
    }

    impl Server {
        fn name(&self) -> String {
            match self {
                Server::Ours(variant, Builtin::Echo) => variant.to_string(),
                Server::Ours(variant, protocol) => format!("{variant}/{protocol}"),
                Server::Datagrams(variant) => format!("{variant}/udp"),
                Server::Peer(name) => (*name).to_owned(),
            }
        }

        /// What it speaks.
        fn protocol(&self) -> Builtin {
            match self {
                Server::Ours(_, protocol) => *protocol,
                Server::Datagrams(_) | Server::Peer(_) => Builtin::Echo,
            }
        }

        /// What carries it.
        fn transport(&self) -> Transport {
            match self {
                Server::Datagrams(_) => Transport::Udp,
                Server::Ours(..) | Server::Peer(_) => Transport::Tcp,
            }
        }

        /// The name of the program and its arguments.
        fn command(&self) -> (&'static str, Vec<String>) {
            match self {
                Server::Ours(variant, protocol) => {
                    let (variant, protocol) = (variant.to_string(), protocol.to_string());
                    let words = ["serve", "--model", &variant, "--protocol", &protocol];
                    ("polyloop", words.map(str::to_owned).into())
                }
                Server::Datagrams(variant) => {
                    let variant = variant.to_string();
                    let words = ["serve", "--model", &variant, "--transport", "udp"];
                    ("polyloop", words.map(str::to_owned).into())
                }
                Server::Peer(peer) => {
                    let mut words = peer.split(' ');
                    let program = words.next().unwrap_or_default();
                    (program, words.map(str::to_owned).collect())
                }
            }
        }
    }

    /// How something is counted.
    struct Tool {
        name: &'static str,
        counts: &'static str,
        arguments: &'static [&'static str],
        /// Finds the total in what the tool prints when the server has ended.
        total: fn(&str) -> Option<u64>,
        /// The two numbers of requests.
        requests: [u64; 2],
    }

    const VALGRIND: Tool = Tool {
        name: "valgrind",
        counts: "instructions",
        arguments: &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
        total: |text| {
            // ==4711== Collected : 123456
            let line = text.lines().find(|line| line.contains("Collected :"))?;
            line.rsplit(' ').next()?.parse().ok()
        },
        requests: [20_000, 100_000],
    };

    const STRACE: Tool = Tool {
        name: "strace",
        counts: "system calls",
        // The server is the child, strace its child: whoever ends the server reaches it directly.
        arguments: &["-D", "-f", "-qq", "-c", "-U", "calls,name"],
        total: |text| {
            // 4711 total
            let line = text.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
            line.split_whitespace().next()?.parse().ok()
        },
        requests: [2_000, 10_000],
    };

    /// What a request costs one server.
    #[derive(Debug, Serialize)]
    struct Cost {
        server: String,
        instructions: f64,
        system_calls: f64,
    }

    pub(super) fn main() -> ExitCode {
        let arguments = match Arguments::try_parse() {
            Ok(arguments) => arguments,
            Err(error) => return cli::explain(&error),
        };
        match run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("instructions: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn run(arguments: &Arguments) -> anyhow::Result<()> {
        ensure!(!cfg!(debug_assertions), "a debug build counts its checks: build with --release");
        for tool in [&VALGRIND, &STRACE] {
            check_installed(tool)?;
        }
        let programs = build()?;
        let servers: Vec<_> =
            if arguments.servers.is_empty() { all() } else { arguments.servers.clone() };

        let progress = ProgressBar::new(4 * servers.len() as u64);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}")?;
        progress.set_style(style);
        progress.enable_steady_tick(Duration::from_millis(200));
        let mut costs = Vec::with_capacity(servers.len());
        for server in servers {
            costs.push(Cost {
                server: server.name(),
                instructions: slope(&VALGRIND, &server, &programs, &progress)?,
                system_calls: slope(&STRACE, &server, &programs, &progress)?,
            });
        }
        progress.finish_and_clear();

        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&costs)?);
        } else {
            println!("{}", draw(&costs));
        }
        Ok(())
    }

    fn check_installed(tool: &Tool) -> anyhow::Result<()> {
        let name = tool.name;
        let quiet = Command::new(name).arg("--version").stdout(Stdio::null()).status();
        match quiet {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "{name} is not installed; it counts the {}: install the package {name}",
                tool.counts
            ),
            Err(error) => Err(error).with_context(|| format!("cannot run {name}")),
            Ok(_) => Ok(()),
        }
    }

    /// Builds the servers, for `cargo run` built only this program, and says where they are.
    ///
    /// Without cargo they are taken as they stand beside this program.
    fn build() -> anyhow::Result<PathBuf> {
        let this = std::env::current_exe().context("cannot tell where this program is")?;
        let programs = this.parent().context("this program is in no directory")?;
        if let Some(cargo) = std::env::var_os("CARGO") {
            let status = Command::new(cargo)
                .args(["build", "--quiet", "--release", "--bins"])
                .args(["--package=polyloop-bench", "--package=polyloop-benches"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .context("cannot run cargo")?;
            ensure!(status.success(), "the servers do not build");
        }
        Ok(programs.to_owned())
    }

    /// What `tool` counts for one request.
    fn slope(
        tool: &Tool,
        server: &Server,
        programs: &Path,
        progress: &ProgressBar,
    ) -> anyhow::Result<f64> {
        let mut counts = [0; 2];
        for (count, requests) in counts.iter_mut().zip(tool.requests) {
            let name = server.name();
            let number = units::count(requests);
            progress.set_message(format!("{name}: {} of {number} requests", tool.counts));
            *count = counted(tool, server, programs, requests)
                .with_context(|| format!("cannot count the {} of {name}", tool.counts))?;
            progress.inc(1);
        }
        let [few, many] = tool.requests;
        Ok((counts[1] as f64 - counts[0] as f64) / (many - few) as f64)
    }

    /// Runs a server for so many requests and returns what `tool` counted from start to end.
    fn counted(
        tool: &Tool,
        server: &Server,
        programs: &Path,
        requests: u64,
    ) -> anyhow::Result<u64> {
        let mut running = Running::start(tool, server, programs)?;
        let counted = running.count(tool, server, requests);
        if running.was_killed() {
            bail!("it did not end within {PATIENCE:?}, and was killed");
        }
        counted
    }

    /// A server under a tool; it is killed when this is dropped, or takes too long.
    struct Running {
        child: Child,
        /// Kills it when it takes too long; whoever drops the sender calls that off.
        watchdog: Option<(mpsc::Sender<()>, JoinHandle<bool>)>,
    }

    impl Running {
        fn start(tool: &Tool, server: &Server, programs: &Path) -> anyhow::Result<Running> {
            let (program, arguments) = server.command();
            let program = programs.join(program);
            ensure!(program.exists(), "{} is missing: cargo builds it", program.display());
            let child = Command::new(tool.name)
                .args(tool.arguments)
                .arg(program)
                .args(arguments)
                .args(["--listen", "127.0.0.1:0"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot run {}", tool.name))?;
            let pid = Pid::from_child(&child);
            let (calm, alarm) = mpsc::channel();
            let dog = thread::spawn(move || {
                let late = alarm.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
                late && kill_process(pid, Signal::KILL).is_ok()
            });
            Ok(Running { child, watchdog: Some((calm, dog)) })
        }

        /// Calls the watchdog off, and says whether it was too late for that.
        fn was_killed(&mut self) -> bool {
            self.watchdog.take().is_some_and(|(calm, dog)| {
                drop(calm);
                dog.join().unwrap_or(false)
            })
        }

        /// Loads it, ends it and returns what the tool has counted.
        fn count(&mut self, tool: &Tool, server: &Server, requests: u64) -> anyhow::Result<u64> {
            let address = self.address()?;
            let report = load::run(
                &load::Settings {
                    target: address.into(),
                    transport: server.transport(),
                    protocol: server.protocol(),
                    connections: CONNECTIONS,
                    active: CONNECTIONS,
                    size: SIZE,
                    duration: Duration::ZERO,
                    requests: Some(requests),
                    warmup: Duration::ZERO,
                    rate: None,
                    short: false,
                    timeout: Duration::from_secs(60),
                    seed: 1,
                    pin: None,
                },
                &Gate::open(),
            )?;
            ensure!(
                (report.requests, report.errors.total()) == (requests, 0),
                "{} of {requests} requests were answered, {} connections failed: {}",
                report.requests,
                report.errors.total(),
                report.errors.first.as_deref().unwrap_or("no reason was given")
            );
            let text = self.end(address)?;
            (tool.total)(&text).with_context(|| {
                format!("no total in what {} printed:\n{}", tool.name, text.trim())
            })
        }

        /// Reads where the server listens.
        fn address(&mut self) -> anyhow::Result<SocketAddr> {
            let stdout = self.child.stdout.as_mut().context("the output is gone")?;
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line)?;
            match line.trim().strip_prefix("listening on ") {
                Some(address) => Ok(address.parse()?),
                None => {
                    let _ = self.child.kill();
                    bail!("the server does not listen: {}", self.messages()?.trim())
                }
            }
        }

        /// Ends the server and returns everything that it and the tool printed as messages.
        fn end(&mut self, address: SocketAddr) -> io::Result<String> {
            // One that has ended already is no reason to fail: what it printed says why.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let asked = Instant::now();
            while self.child.try_wait()?.is_none() {
                // One that does not end is told once it has had something to do.
                let late = asked.elapsed() > GRACE;
                if !late || TcpStream::connect_timeout(&address, GRACE).is_err() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            self.messages()
        }

        /// Everything that the server and the tool print as messages until both have ended.
        fn messages(&mut self) -> io::Result<String> {
            let mut text = String::new();
            if let Some(mut stderr) = self.child.stderr.take() {
                stderr.read_to_string(&mut text)?;
            }
            Ok(text)
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.child.kill();
            // The number is not free for another process before it has been waited for.
            self.was_killed();
            let _ = self.child.wait();
        }
    }

    fn draw(costs: &[Cost]) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["server", "instructions a request", "system calls a request"]);
        for cost in costs {
            table.add_row([
                cost.server.clone(),
                format!("{:.0}", cost.instructions),
                format!("{:.2}", cost.system_calls),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}
