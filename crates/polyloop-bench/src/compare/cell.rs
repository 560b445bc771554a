//! One measurement: a server and a load generator, each a process of its own, and what the
//! server used between two moments at which no request was under way.

use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use serde::{Deserialize, Serialize};

use super::child::Child;
use super::plan::{Contestant, Scenario};
use crate::control::{counted, Counters, Listening, Stats, Waiting, SYSTEM_CALLS};
use crate::load::{Messages, Phase, Report};
use crate::process::{self, Memory, Usage};
use crate::protocols::Builtin;
use crate::transport::{datagrams_to, Transport};
use crate::units;

/// What is the same for every measurement of a run.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// This program, which is also the load generator.
    pub program: PathBuf,
    /// What carries requests.
    pub transport: Transport,
    /// What connections say.
    pub protocol: Builtin,
    /// How long the measured phase makes new requests.
    pub duration: Duration,
    /// How long requests are made before it.
    pub warmup: Duration,
    /// How many connections may wait to be accepted.
    pub backlog: u32,
    /// The processor that the load generator runs on.
    pub load_processor: Option<usize>,
}

/// One measurement of one contestant in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The round, from zero.
    pub round: u32,
    /// The name of the scenario.
    pub scenario: String,
    /// The name of the contestant.
    pub contestant: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The raw figures.
    Measured(Box<Measured>),
    /// Why there are none.
    Failed(String),
}

impl From<Result<Measured, String>> for Outcome {
    fn from(result: Result<Measured, String>) -> Self {
        match result {
            Ok(measured) => Outcome::Measured(Box::new(measured)),
            Err(reason) => Outcome::Failed(reason),
        }
    }
}

/// The raw figures of one measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What the load generator found.
    pub load: Report,
    /// What the server used in the measured phase.
    pub used: Usage,
    /// What the server counted in the measured phase.
    pub counted: Option<Counters>,
    /// What the server counts of a connection is known only when that has ended.
    #[serde(default)]
    pub counts_late: bool,
    /// How many of the load's connections, those of its warm-up included, each loop of the server
    /// took; empty unless it has several.
    #[serde(default)]
    pub loops: Vec<u64>,
    /// Resident memory before any connection of the load, in bytes. One connection of our
    /// own had made a request by then, so that what a server allocates once is not shared
    /// out among the connections.
    pub resident_before: Option<u64>,
    /// Resident memory once all connections were up and had exchanged one request each, in
    /// bytes.
    pub resident_connected: Option<u64>,
    /// Connections that were up then.
    pub connected: usize,
    /// Threads of the server then.
    pub threads: Option<u64>,
    /// The server's soft limit of descriptors before and after, if it raised it.
    pub raised_descriptor_limit: Option<(u64, u64)>,
}

impl Measured {
    /// Processor time a request, user plus system, in nanoseconds.
    pub fn processor_ns(&self) -> Option<f64> {
        self.a_request(self.used.processor_ns()?)
    }

    /// System calls a request, as the server counted them.
    pub fn system_calls(&self) -> Option<f64> {
        self.a_request(*self.counted.as_ref()?.get(SYSTEM_CALLS)?)
    }

    /// Context switches a request, of both kinds.
    pub fn switches(&self) -> Option<f64> {
        self.a_request(self.used.switches()?)
    }

    /// Resident memory a connection, in bytes; never for short connections.
    pub fn memory(&self) -> Option<f64> {
        let grown = self.resident_connected? as f64 - self.resident_before? as f64;
        (self.connected > 0).then(|| grown / self.connected as f64)
    }

    /// The share of one processor that the server used.
    pub fn utilisation(&self) -> Option<f64> {
        let used = self.used.processor_ns()? as f64 / 1e9;
        (self.load.seconds > 0.0).then(|| used / self.load.seconds)
    }

    fn a_request(&self, total: u64) -> Option<f64> {
        (self.load.requests > 0).then(|| total as f64 / self.load.requests as f64)
    }
}

/// How long a child may take for anything that should be immediate.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures one contestant in one scenario. The server inherits the processors of this thread.
///
/// # Errors
///
/// Why there is no figure, for a person to read.
pub fn measure(
    scenario: &Scenario,
    contestant: &Contestant,
    conditions: &Conditions,
) -> Result<Measured, String> {
    let mut server = start_server(contestant, conditions)?;
    let listening: Listening = server.hear(PATIENCE)?;
    let protocol = conditions.protocol;
    let listens = &listening.listening;
    let requested = match conditions.transport {
        Transport::Tcp => TcpStream::connect(listens)
            .map_err(anyhow::Error::from)
            .and_then(|stream| one_request(stream, protocol, PATIENCE)),
        Transport::Udp => one_datagram(listens, PATIENCE),
    };
    requested.map_err(|error| format!("it does not speak {protocol}: {error}"))?;
    if let Some(at_once) = listening.at_once.filter(|&at_once| at_once < scenario.connections) {
        if !scenario.short {
            return Err(who_waits(scenario.connections, at_once, &listening, &mut server));
        }
    }
    let idle: Stats = server.ask("stats", PATIENCE)?;
    let before: Memory = server.ask("memory", PATIENCE)?;

    let mut load = start_load(listens, scenario, conditions)?;
    let lost_count = || "the load generator lost count of its phases".to_owned();
    let request = conditions.transport.patience();
    // A thousand connections take a second; a phase may end with one request that times out.
    let Phase::Connected { connections } = load.hear(3 * PATIENCE + 2 * request)? else {
        return Err(lost_count());
    };
    let connected: Memory = server.ask("memory", PATIENCE)?;
    let Phase::Warm = load.ask("go", PATIENCE + conditions.warmup + 2 * request)? else {
        return Err(lost_count());
    };
    let start: Stats = server.ask("stats", PATIENCE)?;
    let done: Phase = load.ask("go", PATIENCE + conditions.duration + 2 * request)?;
    let end: Stats = server.ask("stats", PATIENCE)?;
    let Phase::Done { report } = done else { return Err(lost_count()) };
    if let Some(failure) = report.failure() {
        return Err(failure);
    }
    // Short connections have ended, but for those in hand at the start and at the end.
    let counted_in_time = !listening.counts_late || scenario.short;
    let seen = counted_in_time || process::lists_children();
    Ok(Measured {
        load: *report,
        used: if seen { end.usage.since(&start.usage) } else { Usage::default() },
        loops: iter::zip(&end.counted.loops, &idle.counted.loops)
            .map(|(end, idle)| end.saturating_sub(*idle))
            .collect(),
        counted: (end.counted.counters)
            .zip(start.counted.counters)
            .filter(|_| counted_in_time)
            .map(|(end, start)| counted(&end, &start)),
        counts_late: listening.counts_late,
        resident_before: before.resident_bytes.filter(|_| seen),
        resident_connected: connected.resident_bytes.filter(|_| seen),
        connected: connections,
        threads: connected.threads.filter(|_| seen),
        raised_descriptor_limit: listening.raised_descriptor_limit,
    })
}

fn start_server(contestant: &Contestant, conditions: &Conditions) -> Result<Child, String> {
    let mut arguments = contestant.arguments.clone();
    arguments.extend(words(&[("--listen", Some("127.0.0.1:0".to_owned())), ("--control", None)]));
    let transport = conditions.transport;
    arguments.extend(match transport {
        Transport::Tcp => words(&[("--backlog", Some(conditions.backlog.to_string()))]),
        Transport::Udp => words(&[("--transport", Some(transport.to_string()))]),
    });
    let own = contestant.program.as_os_str().is_empty();
    let program = if own { &conditions.program } else { &contestant.program };
    Child::start("server", program, &arguments)
}

fn start_load(target: &str, scenario: &Scenario, conditions: &Conditions) -> Result<Child, String> {
    let mut arguments = words(&[
        ("load", None),
        ("--target", Some(target.to_owned())),
        ("--transport", Some(conditions.transport.to_string())),
        ("--protocol", Some(conditions.protocol.to_string())),
        ("--connections", Some(scenario.connections.to_string())),
        ("--size", Some(scenario.size.to_string())),
        ("--duration", Some(units::microseconds(conditions.duration))),
        ("--warmup", Some(units::microseconds(conditions.warmup))),
        ("--control", None),
    ]);
    arguments.extend(if scenario.short {
        words(&[("--short", None)])
    } else {
        words(&[("--active", Some(scenario.active.to_string()))])
    });
    if let Some(processor) = conditions.load_processor {
        arguments.extend(words(&[("--pin", Some(processor.to_string()))]));
    }
    Child::start("load generator", &conditions.program, &arguments)
}

/// Why a server that serves `at_once` connections can't do a scenario of more that last: connects
/// as many, and asks how many of them wait.
fn who_waits(
    connections: usize,
    at_once: usize,
    listening: &Listening,
    server: &mut Child,
) -> String {
    let served = match at_once {
        1 => "it serves one connection at a time".to_owned(),
        more => format!("it serves {} connections at a time", units::count(more as u64)),
    };
    let silent = connect(&listening.listening, connections);
    let expected = silent.len().saturating_sub(at_once) as u64;
    let begun = Instant::now();
    loop {
        match server.ask("waiting", PATIENCE) {
            Ok(Waiting { waiting: Some(waiting) })
                if waiting == expected || begun.elapsed() > PATIENCE =>
            {
                let (waiting, connections) =
                    (units::count(waiting), units::count(connections as u64));
                return format!("{served}: {waiting} of {connections} wait in the backlog");
            }
            // Each question costs the server time that it needs to accept.
            Ok(Waiting { waiting: Some(_) }) => thread::sleep(Duration::from_millis(5)),
            Ok(Waiting { waiting: None }) => {
                return format!(
                    "{served}: the others wait in the backlog, how many the system does not tell"
                );
            }
            Err(error) => return error,
        }
    }
}

/// Connects up to `connections` times, until the backlog has no room: from then on a connection is
/// not refused, it is kept waiting, for minutes if one lets it.
fn connect(address: &str, connections: usize) -> Vec<TcpStream> {
    const ROOM: Duration = Duration::from_secs(1);
    let Ok(address) = address.parse() else { return Vec::new() };
    let connect = |_| TcpStream::connect_timeout(&address, ROOM).ok();
    (0..connections).map_while(connect).collect()
}

/// Makes one request and waits for the server to close after us.
fn one_request(mut stream: TcpStream, protocol: Builtin, patience: Duration) -> anyhow::Result<()> {
    let (request, expected) = Messages::new(protocol, 1, 0)?.exchange();
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&request)?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => anyhow!("it closed before its answer was complete"),
        _ => silence(error, "it gave no answer", patience),
    })?;
    ensure!(answer == expected, "it answered {:?}", String::from_utf8_lossy(&answer));
    stream.shutdown(Shutdown::Write)?;
    let mut more = Vec::new();
    let closed = stream.take(1).read_to_end(&mut more);
    closed.map_err(|error| silence(error, "it did not close after its client's end", patience))?;
    ensure!(more.is_empty(), "more came back than was asked for");
    Ok(())
}

/// Sends a datagram and gets it back. On an idle loopback none is lost.
fn one_datagram(address: &str, patience: Duration) -> anyhow::Result<()> {
    let socket = datagrams_to(address.parse()?)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"?")?;
    let mut answer = [0; 2];
    let length =
        socket.recv(&mut answer).map_err(|error| silence(error, "it gave no answer", patience))?;
    ensure!(answer[..length] == *b"?", "it answered {:?}", &answer[..length]);
    Ok(())
}

/// Names what did not come in time, which systems have no word for that a user would know.
fn silence(error: io::Error, what: &str, patience: Duration) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            anyhow!("{what} for {}", units::time(patience.as_nanos() as f64))
        }
        _ => error.into(),
    }
}

/// Writes options and their values as the words of a command line.
fn words(options: &[(&str, Option<String>)]) -> Vec<String> {
    options
        .iter()
        .flat_map(|(name, value)| std::iter::once((*name).to_owned()).chain(value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    /// What is said of a server that has sent `answer`, and its end if it closes.
    fn told(answer: &[u8], closes: bool) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(answer).unwrap();
        if closes {
            server.shutdown(Shutdown::Write).unwrap();
        }
        let asked = one_request(stream, Builtin::Echo, Duration::from_millis(200));
        asked.map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_told_which_step_of_a_first_request_fails() {
        let (_, right) = Messages::new(Builtin::Echo, 1, 0).unwrap().exchange();
        let twice = right.repeat(2);
        assert_eq!(told(&right, true), Ok(()));
        for (answer, closes, expected) in [
            (&b""[..], false, "it gave no answer for 200 ms"),
            (b"", true, "it closed before its answer was complete"),
            (&right, false, "it did not close after its client's end for 200 ms"),
            (&twice, false, "more came back than was asked for"),
        ] {
            assert_eq!(told(answer, closes), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_datagram_without_an_answer_is_told_as_such() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let told = one_datagram(&address, Duration::from_millis(50)).unwrap_err();
        assert_eq!(told.to_string(), "it gave no answer for 50.0 ms");
    }

    #[test]
    fn a_backlog_without_room_is_not_waited_for() {
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let listener = polyloop::listen(&anywhere, 2).unwrap();
        let address = listener.address().to_string();
        let begun = Instant::now();
        let connected = connect(&address, 20).len();
        assert!((2..20).contains(&connected), "{connected}");
        // It takes a second; the system's own patience is some two minutes.
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
}
