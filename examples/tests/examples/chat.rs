//! The chat room, with people of every kind.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::{Example, MEGABYTE};

/// Somebody in the chat room.
struct Chatter {
    stream: TcpStream,
    lines: io::Lines<BufReader<TcpStream>>,
}

impl Chatter {
    fn enter(server: &Example, name: &str) -> Chatter {
        let stream = server.connect();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut chatter = Chatter { stream, lines };
        assert_eq!(chatter.hears(), "* Your name?");
        chatter.says(name);
        chatter
    }

    fn says(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hears(&mut self) -> String {
        self.lines.next().expect("the connection is open").unwrap()
    }
}

/// Ann and Bob come in, and have heard so.
fn enter_two(server: &Example) -> (Chatter, Chatter) {
    let mut ann = Chatter::enter(server, "Ann");
    assert_eq!(ann.hears(), "* Ann is here");
    let mut bob = Chatter::enter(server, "Bob");
    assert_eq!(ann.hears(), "* Bob is here");
    assert_eq!(bob.hears(), "* Bob is here");
    (ann, bob)
}

#[test]
fn chat() {
    let server = Example::start("chat", &["127.0.0.1:0"]);
    let (mut ann, mut bob) = enter_two(&server);

    // In parts, and several at once.
    ann.stream.write_all(b"hel").unwrap();
    bob.says("first");
    assert_eq!(ann.hears(), "Bob: first");
    assert_eq!(bob.hears(), "Bob: first");
    ann.says("lo\nand \u{1b}[31mred");
    for chatter in [&mut ann, &mut bob] {
        assert_eq!(chatter.hears(), "Ann: hello");
        assert_eq!(chatter.hears(), "Ann: and [31mred");
    }

    // Who says no name has an address; who leaves is gone.
    let mut nobody = Chatter::enter(&server, "");
    let name = nobody.stream.local_addr().unwrap();
    for chatter in [&mut ann, &mut bob, &mut nobody] {
        assert_eq!(chatter.hears(), format!("* {name} is here"));
    }
    nobody.says("##");
    assert!(nobody.lines.next().is_none());
    for chatter in [&mut ann, &mut bob] {
        assert_eq!(chatter.hears(), format!("* {name} has left: finished"));
    }
}

/// One of three does not read. The others hear each line, until the slow one is out.
#[test]
fn chat_with_a_slow_reader() {
    let server = Example::start("chat", &["127.0.0.1:0"]);
    let (mut ann, mut bob) = enter_two(&server);
    let slow = Chatter::enter(&server, "Slow");
    assert_eq!(ann.hears(), "* Slow is here");
    assert_eq!(bob.hears(), "* Slow is here");

    let line = "x".repeat(8000);
    let mut bytes = 0;
    'talk: loop {
        assert!(bytes < 64 * MEGABYTE, "whoever is 64 MB behind should be out");
        bytes += line.len();
        ann.says(&line);
        for chatter in [&mut ann, &mut bob] {
            let heard = chatter.hears();
            if heard == "* Slow has left: the peer fell too far behind" {
                break 'talk;
            }
            assert!(heard.strip_prefix("Ann: ") == Some(&line), "{heard}");
        }
    }
    // What the kernel had taken is there, and then nothing more.
    let mut rest = slow.lines;
    let last = rest.by_ref().take_while(Result::is_ok).count();
    assert!(last > 0 && rest.next().is_none());
}

/// Those who have much to say, under names that make it fifty times as much, throw nobody out who
/// reads; and all of it is said, that of those who say no more too.
#[test]
fn chat_with_big_talkers() {
    const LINES: usize = 32 * 1024;
    let server = Example::start("chat", &["127.0.0.1:0"]);
    let mut ann = Chatter::enter(&server, "Ann");
    assert_eq!(ann.hears(), "* Ann is here");
    let name = "\u{1f600}".repeat(24);
    let talkers = [(); 3].map(|()| {
        let talker = Chatter::enter(&server, &name);
        assert_eq!(ann.hears(), format!("* {name} is here"));
        talker.stream
    });
    // Nothing,
    (&talkers[0]).write_all("\n".repeat(2 * LINES).as_bytes()).unwrap();
    // and then a bit of everything, all at once.
    let bits = "x\n".repeat(LINES);
    talkers.iter().for_each(|mut talker| talker.write_all(bits.as_bytes()).unwrap());
    thread::scope(|scope| {
        for mut talker in &talkers {
            talker.shutdown(Shutdown::Write).unwrap();
            scope.spawn(move || io::copy(&mut talker, &mut io::sink()));
        }
        let (mut lines, mut left) = (0, 0);
        while left < talkers.len() {
            let heard = ann.hears();
            if heard == format!("{name}: x") {
                lines += 1;
            } else {
                assert_eq!(heard, format!("* {name} has left: finished"));
                left += 1;
            }
        }
        assert_eq!(lines, talkers.len() * LINES);
    });
}
