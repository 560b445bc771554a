use std::env;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::process::{self, Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use polyloop::{Config, Connection, Protocol};
use polyloop_models::{Attendant, Model};

/// Set in the process that is to serve: the model.
const SERVE: &str = "POLYLOOP_FORKING_SERVE";

/// What a server needs at most to do what it is asked; one that hangs takes longer.
const LONG: Duration = Duration::from_secs(20);

pub(crate) fn run() {
    if let Ok(model) = env::var(SERVE) {
        serve(model.parse().unwrap());
    }
    it_ends_though_it_was_started_deaf_to_its_children();
    what_a_connection_counted_is_not_lost_in_a_panic();
    #[cfg(target_os = "linux")] // elsewhere nobody tells
    a_thread_that_was_started_meanwhile_ends_it();
    #[cfg(target_os = "linux")] // elsewhere a limit of processes is none of threads
    for model in [Model::Process, Model::Thread] {
        whom_nobody_can_serve_is_closed_and_leaves_its_place(model);
    }
    println!("forking: ok");
}

/// A mask outlives an `exec`: nothing but the signal tells that a child has ended.
fn it_ends_though_it_was_started_deaf_to_its_children() {
    let deaf = SigSet::from(Signal::SIGCHLD);
    deaf.thread_block().unwrap();
    let server = Server::start(Model::Process);
    deaf.thread_unblock().unwrap();
    let clients = [(); 3].map(|()| server.connect());
    for client in &clients {
        exchange(client);
    }
    assert!(server.end().success());
}

fn what_a_connection_counted_is_not_lost_in_a_panic() {
    let mut server = Server::start(Model::Process);
    let client = server.connect();
    exchange(&client);
    (&client).write_all(PANIC).unwrap();
    // The end, or a reset.
    let _ = (&client).read(&mut [0]);
    until("the child is waited for", || server.ask("closed") == "1");
    assert_eq!((server.ask("reads"), server.ask("writes")), ("2".into(), "1".into()));
    // One connection's panic is not the server's.
    exchange(&server.connect());
    assert!(server.end().success());
}

#[cfg(target_os = "linux")]
fn a_thread_that_was_started_meanwhile_ends_it() {
    let mut server = Server::start(Model::Process);
    let client = server.connect();
    exchange(&client);
    assert_eq!(server.ask("thread"), "started");
    // In order: the connection is stopped.
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    let error = server.lines.next().unwrap().unwrap();
    assert!(error.contains("as the only one"), "{error}");
    assert_eq!(server.end().code(), Some(1));
}

#[cfg(target_os = "linux")]
fn whom_nobody_can_serve_is_closed_and_leaves_its_place(model: Model) {
    let mut server = Server::start(model);
    assert_eq!(server.ask("limit"), "done");
    // One more than it may have at once.
    for _ in 0..=CONNECTIONS {
        assert_eq!((&server.connect()).read(&mut [0]).unwrap(), 0, "{model}");
    }
    assert_eq!(server.ask("no limit"), "done");
    exchange(&server.connect());
    assert!(server.end().success());
}

/// Tries until it is so.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is() {
        assert!(Instant::now() < end, "in {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn exchange(mut stream: &TcpStream) {
    stream.write_all(b"?").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

/// This program as a server, which ends with its input.
struct Server {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Server {
    fn start(model: Model) -> Server {
        let mut process = Command::new(env::current_exe().unwrap())
            .env(SERVE, model.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap();
        Server { process, lines, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Asks for one of its counts, or that something be done to its process.
    fn ask(&mut self, name: &str) -> String {
        writeln!(self.process.stdin.as_ref().unwrap(), "{name}").unwrap();
        self.lines.next().unwrap().unwrap()
    }

    fn end(mut self) -> ExitStatus {
        drop(self.process.stdin.take());
        let mut ended = None;
        until("the server ends", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }
}

/// One whose test failed ends with it.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What [`Echo`] panics at.
const PANIC: &[u8] = b"panic";

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        assert_ne!(input, PANIC, "asked for");
        connection.send(input);
        input.len()
    }
}

/// How many a server has at most.
const CONNECTIONS: usize = 3;

fn serve(model: Model) -> ! {
    let config = Config { max_connections: Some(CONNECTIONS), ..Config::default() };
    let server = model.bind("127.0.0.1:0", config, |_| Echo).unwrap();
    say(&server.addresses()[0].to_string());
    let handle = server.handle();
    let attend = move || {
        let mut line = String::new();
        io::stdin().read_line(&mut line).unwrap();
        match line.trim() {
            "" => {
                handle.stop();
                return ControlFlow::Break(());
            }
            "thread" => {
                thread::spawn(|| loop {
                    thread::park();
                });
                say("started");
            }
            #[cfg(target_os = "linux")]
            asked @ ("limit" | "no limit") => {
                limit_processes(asked == "limit");
                say("done");
            }
            asked => {
                let counts = handle.counts().named();
                let (_, count) = counts.iter().find(|(name, _)| *name == asked).unwrap();
                say(&count.to_string());
            }
        }
        ControlFlow::Continue(())
    };
    let ended = if model.forks() {
        server.run_with(Attendant::of_stdin(attend).unwrap())
    } else {
        let serving = thread::spawn(|| server.run());
        while attend().is_continue() {}
        serving.join().unwrap()
    };
    if let Err(error) = ended {
        say(&error.to_string());
        process::exit(1);
    }
    process::exit(0)
}

/// Lets this process start no other and no thread, or all that it may.
#[cfg(target_os = "linux")]
fn limit_processes(limited: bool) {
    use nix::sys::resource::{getrlimit, setrlimit, Resource};
    use nix::unistd::{setuid, Uid};

    // Root is not bound; but for that of a user namespace, which may know nobody else.
    let _ = setuid(Uid::from_raw(65534));
    let (_, most) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
    setrlimit(Resource::RLIMIT_NPROC, if limited { 0 } else { most }, most).unwrap();
}

fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}
