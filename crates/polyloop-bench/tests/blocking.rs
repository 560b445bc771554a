//! What the models show that have no multiplexer: who waits, and what a fork leaves behind. It is
//! Linux that tells.
#![cfg(target_os = "linux")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use polyloop_bench::control::{Listening, Stats, Waiting};
use polyloop_bench::process::Memory;
use serde::de::DeserializeOwned;

use common::until;

/// A `polyloop serve` that answers.
struct Served {
    process: Child,
    lines: Box<dyn Iterator<Item = String>>,
    listening: Listening,
}

impl Served {
    fn start(arguments: &[&str]) -> Served {
        let mut process = Command::new(env!("CARGO_BIN_EXE_polyloop"))
            .args(["serve", "--listen", "127.0.0.1:0", "--control"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut lines = Box::new(stdout.lines().map_while(Result::ok));
        let listening = serde_json::from_str(&lines.next().unwrap()).unwrap();
        Served { process, lines, listening }
    }

    fn ask<T: DeserializeOwned>(&mut self, question: &str) -> T {
        writeln!(self.process.stdin.as_ref().unwrap(), "{question}").unwrap();
        serde_json::from_str(&self.lines.next().unwrap()).unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.listening.listening).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn counted(&mut self, name: &str) -> u64 {
        self.ask::<Stats>("stats").counted.counters.unwrap()[name]
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

fn exchange(mut stream: &TcpStream) {
    stream.write_all(b"?").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

/// Two hundred silent clients: eight of them keep the pool busy, and the others are seen to wait.
#[test]
fn a_pool_shows_how_many_wait_in_the_backlog() {
    let mut server = Served::start(&["--model", "pool", "--threads", "8"]);
    assert_eq!(server.listening.at_once, Some(8));
    let silent: Vec<_> = (0..200).map(|_| server.connect()).collect();
    until(|| (server.ask::<Waiting>("waiting").waiting == Some(192)).then_some(()));
    let threads = server.ask::<Memory>("memory").threads;
    assert_eq!(threads, Some(10), "and those that answer, and that look who is idle");
    drop(silent);
    until(|| (server.ask::<Waiting>("waiting").waiting == Some(0)).then_some(()));
    exchange(&server.connect());
    server.end();
}

mod process {
    use super::*;

    /// Sixty clients leave at once: no zombie is left, and every count has come home.
    #[test]
    fn sixty_clients_that_leave_at_once_leave_no_zombie() {
        let mut server = Served::start(&["--model", "process"]);
        let parent = server.process.id();
        for _ in 0..3 {
            let clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
            clients.iter().for_each(exchange);
            assert_eq!(common::children(parent).len(), 60);
            drop(clients);
            // Nobody asks the server anything meanwhile: it reaps by itself.
            until(|| common::children(parent).is_empty().then_some(()));
        }
        assert_eq!(server.counted("closed"), 180);
        // One request, the end, and the answer to the request.
        assert_eq!((server.counted("reads"), server.counted("writes")), (360, 180));
        server.end();
    }

    /// What a process holds open, by number.
    fn descriptors(process: u32) -> BTreeMap<u32, PathBuf> {
        let entries = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let number = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        paths.map(|path| (number(&path), std::fs::read_link(&path).unwrap())).collect()
    }

    /// A child holds its own connection, the way in which its counts go home, and what its server
    /// was started with.
    #[test]
    fn nothing_leaks_into_a_child() {
        // Whatever is started here is given the same, and cat(1) opens nothing of its own.
        let mut cat = Command::new("cat");
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Before it answers, it may be reading its libraries.
        cat.stdin.as_ref().unwrap().write_all(b"?").unwrap();
        cat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let given: BTreeSet<u32> = descriptors(cat.id()).into_keys().collect();
        drop(cat.stdin.take());
        cat.wait().unwrap();

        let mut server = Served::start(&["--model", "process"]);
        let parent = server.process.id();
        let clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        clients.iter().for_each(exchange);
        // From its accept loop: it has closed the last connection that it handed to a child.
        let _: Stats = server.ask("stats");
        let of_parent = descriptors(parent);
        let children = common::children(parent);
        assert_eq!(children.len(), 5);
        let mut connections = BTreeSet::new();
        for child in children {
            let held = descriptors(child);
            let shared = |number: &u32| of_parent.get(number) == held.get(number);
            assert!(given.iter().all(shared), "{given:?}: {held:?} of {of_parent:?}");
            let more = held.iter().filter(|(number, _)| !given.contains(number));
            let (home, own): (Vec<_>, Vec<_>) = more.partition(|(number, _)| shared(number));
            let ([(_, home)], [(_, connection)]) = (&home[..], &own[..]) else {
                panic!("{held:?} of {of_parent:?}, given {given:?}");
            };
            for held in [home, connection] {
                assert!(held.to_string_lossy().starts_with("socket:"), "{held:?}");
            }
            connections.insert((*connection).clone());
        }
        assert_eq!(connections.len(), 5, "one each: {connections:?}");
        server.end();
    }

    /// What it costs to look at the children is in neither of two readings' window.
    #[test]
    fn what_the_look_at_the_children_costs_is_not_in_the_window() {
        let mut server = Served::start(&["--model", "process"]);
        let clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
        clients.iter().for_each(exchange);
        let mut looks = || {
            let start = server.ask::<Stats>("stats").usage;
            let end = server.ask::<Stats>("stats").usage;
            let look = start.after.unwrap().since(&start.before).processor_ns().unwrap();
            (look, end.since(&start).processor_ns().unwrap())
        };
        // Between them nothing happens but that one is answered and the other asked: some 50 µs,
        // where the look reads a file for each child. Not all of these may be at rest at first.
        until(|| {
            let (look, between) = looks();
            (between < look / 4).then_some(())
        });
        server.end();
    }

    /// The server has one thread, whatever it is asked while it serves, and its children none more.
    #[test]
    fn it_forks_from_its_only_thread() {
        let mut server = Served::start(&["--model", "process"]);
        let client = server.connect();
        exchange(&client);
        assert_eq!(server.ask::<Memory>("memory").threads, Some(2), "a process each");
        let before = server.ask::<Stats>("stats").usage.before.processor_ns();
        until(|| {
            exchange(&client);
            // The child lives, and what it uses counts.
            let now = server.ask::<Stats>("stats").usage.before.processor_ns();
            (now.unwrap() > before.unwrap() + 10_000_000).then_some(())
        });
        server.end();
    }

    /// A server that is killed takes its children along.
    #[test]
    fn killing_it_leaves_no_process() {
        let mut server = Served::start(&["--model", "process"]);
        let clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        clients.iter().for_each(exchange);
        let children = common::children(server.process.id());
        assert_eq!(children.len(), 5);
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        for child in children {
            until(|| (!common::is_alive(child)).then_some(()));
        }
    }

    /// Its parent's end ends it, and its children, with open connections.
    #[test]
    fn it_ends_with_its_input() {
        let server = Served::start(&["--model", "process"]);
        let clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        clients.iter().for_each(exchange);
        let children = common::children(server.process.id());
        server.end();
        for child in children {
            assert!(!common::is_alive(child), "{child} is left");
        }
    }
}
