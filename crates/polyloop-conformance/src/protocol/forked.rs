//! A server that forks, in a process of its own: it may have no thread beside it, and a test has.
//!
//! The scenario runs twice. In the test it finds a server that is another process, started by
//! [`Elsewhere::start`]; that process runs the same scenario, up to where it serves, and serves there
//! ([`serve_here`]). The two talk in lines: what the server and its children witness comes on its
//! standard output, and what the scenario asks of it goes to its standard input.

use std::env;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::ControlFlow;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use polyloop::driver::Control;
use polyloop::{Address, Closed, Counts, ServerHandle};
use polyloop_models::{Attendant, BoundServer, Model};

use super::serve::Log;
use super::{Company, Scene};

/// Set in the process that is to serve: the name of the scenario, as that of its test.
const SCENARIO: &str = "POLYLOOP_CONFORMANCE_SERVE";

/// Set there as well: where to listen.
const ADDRESS: &str = "POLYLOOP_CONFORMANCE_ADDRESS";

/// Whether this process is the one that serves.
pub(super) fn is_here() -> bool {
    env::var_os(SCENARIO).is_some()
}

/// What the program `forking_server` does: runs a scenario up to where it serves.
pub fn serve_scenario() {
    let test = env::var(SCENARIO).expect("a test says which scenario it is of");
    let (model, scenario) = test.split_once("::").expect("a test has a model's name");
    let model: Model = model.parse().expect("a test has a model's name");
    let lively = scenario.strip_prefix("lively::");
    let company = if lively.is_some() { Company::Lively } else { Company::Quiet };
    let name = lively.unwrap_or(scenario);
    let found = super::list::SCENARIOS.iter().find(|(known, _)| *known == name);
    let (_, run) = found.expect("a test has a scenario's name");
    run(&Scene { name: model.name(), model, setting: "", company });
}

/// Where this process is to listen, if it is the one that serves.
#[cfg(unix)]
pub(super) fn address() -> Option<Address> {
    is_here().then(|| {
        let address = env::var(ADDRESS).expect("a test says where to listen");
        address.parse().expect("it is an address")
    })
}

/// Serves from the only thread of this process, from when the scenario has it run until it has it
/// end. `prepare` does to this process what the scenario wants done to it, when the server has all
/// that it begins with.
pub(super) fn serve_here(server: BoundServer, prepare: impl FnOnce()) -> ! {
    say(&format!("listening {}", server.addresses()[0]));
    let handle = server.handle();
    let mut asked = Asked { handle: handle.clone(), come: Vec::new() };
    while !asked.attend() {}
    let attendant = Attendant::of_stdin(move || {
        asked.attend();
        ControlFlow::Continue(())
    });
    let attendant = attendant.expect("a test gives it a standard input");
    prepare();
    server.run_with(attendant).expect("a server ends without an error");
    say_counts(&handle);
    std::process::exit(0)
}

/// What the scenario asks of this process, line by line.
struct Asked {
    handle: ServerHandle,
    /// What has come of a line, or of several.
    come: Vec<u8>,
}

impl Asked {
    /// Does all that was asked, and says whether it was asked to run. Waits if nothing has come.
    fn attend(&mut self) -> bool {
        let mut stdin = io::stdin().lock();
        // Lines that came together are taken together: of what is left here, no poll would tell.
        let come = stdin.fill_buf().unwrap_or_default();
        let length = come.len();
        self.come.extend_from_slice(come);
        stdin.consume(length);
        if length == 0 {
            // The scenario is gone, and a child may be in the middle of what never ends.
            std::process::exit(0);
        }
        let mut run = false;
        while let Some(end) = self.come.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.come.drain(..=end).collect();
            match &line[..end] {
                b"run" => run = true,
                b"drain" => self.handle.drain(),
                b"stop" => self.handle.stop(),
                b"counts" => say_counts(&self.handle),
                _ => panic!("nobody asks for {:?}", String::from_utf8_lossy(&line)),
            }
        }
        run
    }
}

fn say_counts(handle: &ServerHandle) {
    let mut line = "counts".to_owned();
    for count in handle.counts().to_array() {
        write!(line, " {count}").expect("a string takes everything");
    }
    say(&line);
}

/// One line in one write: several processes speak.
pub(super) fn say(line: &str) {
    let line = format!("{line}\n");
    if io::stdout().lock().write_all(line.as_bytes()).is_err() {
        // Without a test that listens there is nothing to serve for.
        std::process::exit(0);
    }
}

/// Something that only the first of several processes finds: a datagram to oneself.
pub(super) struct Once(UdpSocket);

impl Once {
    pub(super) fn new(filled: bool) -> Once {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        if filled {
            let to_itself = socket.local_addr().expect("it is bound");
            socket.send_to(b"!", to_itself).expect("there is room for one");
            // A system under load delivers it later.
            socket.peek(&mut [0]).expect("it is on its way");
        }
        socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        Once(socket)
    }

    pub(super) fn take(&self) -> bool {
        self.0.recv(&mut [0]).is_ok()
    }
}

/// A server that is another process.
pub(crate) struct Elsewhere {
    process: Child,
    pub(super) address: Address,
    remote: Arc<Remote>,
    /// Closes when the server and its children have said their last.
    heard: Receiver<()>,
}

impl Elsewhere {
    /// Starts it for the scenario of the test on whose thread this is called; it listens at
    /// `address`. What it witnesses goes to `log`.
    pub(super) fn start(address: &Address, log: &Arc<Log>) -> Elsewhere {
        let test = env::current_exe().expect("a test knows where it is");
        let program = test.parent().and_then(|deps| deps.parent()).expect("cargo's directories");
        let thread = thread::current();
        let mut process = Command::new(program.join("forking_server"))
            .env(SCENARIO, thread.name().expect("a test's thread has its name"))
            .env(ADDRESS, address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo has built the server beside the test");
        let stdin = process.stdin.take().expect("it is piped");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut hear = move || lines.next()?.ok();
        let first = hear().expect("the server listens");
        let address = first.strip_prefix("listening ").and_then(|address| address.parse().ok());
        let (answers, answered) = mpsc::channel();
        let (hearing, heard) = mpsc::channel();
        let log = Arc::clone(log);
        thread::spawn(move || {
            let _hearing: Sender<()> = hearing;
            while let Some(line) = hear() {
                take(&line, &log, &answers);
            }
        });
        let remote = Remote {
            stdin: Mutex::new(stdin),
            answered: Mutex::new((answered, Counts::default())),
        };
        Elsewhere {
            process,
            address: address.expect("the server says where it listens"),
            remote: Arc::new(remote),
            heard,
        }
    }

    pub(super) fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.remote) as Arc<dyn Control>)
    }

    /// Has it run, and waits until it has ended.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.remote.ask("run\n");
        let _ = self.heard.recv();
        let status = self.process.wait()?;
        assert!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

/// A server whose scenario failed ends with it.
impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes down what a line says.
fn take(line: &str, log: &Log, answers: &Sender<Counts>) {
    let mut words = line.split(' ');
    let kind = words.next().unwrap_or_default();
    if kind == "counts" {
        let mut numbers = [0; Counts::NUMBER];
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = word.parse().expect("a count");
        }
        let _ = answers.send(Counts::from_array(numbers));
        return;
    }
    if let Some(warning) = line.strip_prefix("warned ") {
        return log::warn!("{warning}");
    }
    let peer = words.next().and_then(|peer| peer.parse().ok()).expect("a witness names the peer");
    match kind {
        "made" => drop(log.add(peer)),
        "opened" => log.change(log.latest(peer), |record| record.open()),
        "received" => {
            let count: usize = words.next().and_then(|word| word.parse().ok()).expect("a count");
            log.change(log.latest(peer), |record| record.received += count);
        }
        "closed" => {
            let named = words.next().expect("a reason");
            let known = [
                Closed::Finished,
                Closed::Reset,
                Closed::Idle,
                Closed::ReadTimeout,
                Closed::WriteTimeout,
                Closed::InputTooLong,
                Closed::OutputTooLong,
                Closed::Drained,
                Closed::Stopped,
            ];
            let reason = known.into_iter().find(|reason| format!("{reason:?}") == named);
            let reason = reason.unwrap_or_else(|| panic!("{peer} was closed for {named}"));
            log.change(log.latest(peer), |record| record.closed = Some(reason));
        }
        _ => panic!("nobody says {line:?}"),
    }
}

/// What is asked of a server that is another process.
struct Remote {
    stdin: Mutex<ChildStdin>,
    /// What it answers, and what it answered last.
    answered: Mutex<(Receiver<Counts>, Counts)>,
}

impl Remote {
    fn ask(&self, what: &str) {
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended needs not be told.
        let _ = stdin.write_all(what.as_bytes());
    }
}

impl Control for Remote {
    fn drain(&self) {
        self.ask("drain\n");
    }

    fn stop(&self) {
        self.ask("stop\n");
    }

    fn counts(&self) -> Counts {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        self.ask("counts\n");
        // Its last words are its counts as well.
        if let Ok(counts) = answered.0.recv() {
            answered.1 = counts;
        }
        while let Ok(counts) = answered.0.try_recv() {
            answered.1 = counts;
        }
        answered.1
    }
}
