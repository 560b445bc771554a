//! A chat room: what anybody says goes to everybody. One terminal, and others for those who talk:
//!
//!     cargo run --release --example chat
//!     nc 127.0.0.1 7000
//!
//! The first line is a name, each further one is said to the room, `##` leaves. Whoever does not
//! read holds nobody up: what they are sent waits for them up to a limit, then they are out.
//! Whoever says much pauses for breath, so that all who do read can keep up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser;
use polyloop::{Closed, Config, Connection, Handle, Peer, Protocol, Server, TimerId};
use slab::Slab;

/// Who is in the room. A protocol may run on any thread, so what connections share has a lock.
#[derive(Default)]
struct Room(Mutex<Slab<Handle>>);

impl Room {
    fn members(&self) -> MutexGuard<'_, Slab<Handle>> {
        // A panic elsewhere leaves the list whole: each change is a single call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one text to everybody: the same bytes for all, and no waiting for any.
    fn say(&self, text: String) {
        let text: Arc<[u8]> = text.into_bytes().into();
        for (_, member) in self.members().iter() {
            member.send(Arc::clone(&text));
        }
    }
}

/// One connection: a guest until it has said its name, then a member.
struct Chatter {
    room: Arc<Room>,
    peer: Peer,
    member: Option<Member>,
    /// Bytes that it has said since its last breath.
    said: usize,
}

struct Member {
    name: String,
    seat: usize,
}

impl Chatter {
    const LONGEST_NAME: usize = 24;

    /// Bytes after which it draws breath: two that come may be a hundred that go to each member.
    const BREATH: usize = 16 * 1024;

    /// How long that takes it.
    const PAUSE: Duration = Duration::from_millis(5);

    /// Takes the first line as a name, the peer's address if it is empty, and enters the room.
    fn enter(&mut self, connection: &Connection<'_>, line: &str) {
        let mut name: String = line.chars().take(Self::LONGEST_NAME).collect();
        if name.is_empty() {
            name = self.peer.to_string();
        }
        let seat = self.room.members().insert(connection.handle());
        self.room.say(format!("* {name} is here\n"));
        self.member = Some(Member { name, seat });
    }
}

impl Protocol for Chatter {
    fn opened(&mut self, connection: &mut Connection<'_>) {
        connection.send(b"* Your name?\n");
    }

    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        let mut used = 0;
        // All lines of one call travel together: a message for each line and member would make
        // much of little.
        let mut text = String::new();
        for line in input.split_inclusive(|&byte| byte == b'\n') {
            if !line.ends_with(b"\n") || self.said >= Self::BREATH {
                break; // the rest of it is still to come, or it is shown again after the pause
            }
            used += line.len();
            // No control characters, which would play tricks on the others' terminals.
            let line: String =
                String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect();
            if line == "##" {
                connection.close();
                break;
            }
            match &self.member {
                None => self.enter(connection, &line),
                Some(_) if line.is_empty() => {} // nothing said
                Some(Member { name, .. }) => {
                    let line = format!("{name}: {line}\n");
                    self.said += line.len();
                    text += &line;
                }
            }
        }
        if !text.is_empty() {
            self.room.say(text);
        }
        if self.said >= Self::BREATH {
            connection.pause();
            connection.set_timer(Self::PAUSE);
        }
        used
    }

    fn timer(&mut self, connection: &mut Connection<'_>, _: TimerId) {
        self.said = 0;
        connection.resume();
    }

    /// Every way out leads here, and says why.
    fn closed(&mut self, reason: Closed) {
        if let Some(Member { name, seat }) = self.member.take() {
            self.room.members().remove(seat);
            self.room.say(format!("* {name} has left: {reason}\n"));
        }
    }
}

/// A chat room
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 lets the system choose
    #[arg(default_value = "127.0.0.1:7000")]
    listen: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    env_logger::init();
    let config = Config {
        // Silence is no reason to throw anybody out of a chat.
        idle: None,
        // Longer lines end the connection. There is room for all that comes with one read, 64 KiB,
        // and waits for a breath,
        max_input: 80 * 1024,
        // and so does falling behind by more than this.
        max_output: 1024 * 1024,
        ..Config::default()
    };
    let room = Arc::new(Room::default());
    let server = Server::builder().listen(Arguments::parse().listen).config(config).build(
        move |accepted| Chatter {
            room: Arc::clone(&room),
            peer: accepted.peer().clone(),
            member: None,
            said: 0,
        },
    )?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.run()?)
}
