//! Datagrams.

use std::io;

use rustix::event::PollFlags;

use super::scenario::{Group, Scenario};
use super::stage::{arrived, Stage, DATA};
use crate::script::would_block;
use crate::sockets::connect_datagrams;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "datagram",
        what: "a datagram has come",
        why:
            "A datagram socket is readable when a datagram waits, and writable when there is room \
              to send one, which on loopback is always. There is no end of input: a peer that is \
              gone is not told.",
        see: &["udp(7)", "recv(2)"],
        group: Group::Udp,
        play: Some(datagram),
    },
    Scenario {
        name: "datagram-empty",
        what: "a datagram without a byte has come",
        why:
            "A datagram of length zero is a datagram: the socket is readable, and the read returns \
              zero. On a stream that would be the end of input; code that was written for streams \
              closes the socket here.",
        see: &["udp(7)", "recv(2)"],
        group: Group::Udp,
        play: Some(datagram_empty),
    },
    Scenario {
        name: "datagram-refused",
        what: "an earlier datagram was refused",
        why: "Nobody had the port open, and an ICMP message said so. A connected UDP socket keeps \
              that as its queued error (ECONNREFUSED), which the next call returns, whichever it \
              is: a datagram that could be read has to be asked for a second time. polyloop tells the error as readable and writable. SO_ERROR takes it without a read. \
              On an edge the loop keeps the hint when the error is gone.",
        see: &["udp(7) on errors", "ip(7) on IP_RECVERR", "socket(7) on SO_ERROR"],
        group: Group::Udp,
        play: Some(datagram_refused),
    },
];

fn datagram(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect_datagrams()?;
    peer.send(b"datagram")?;
    arrived(&ours, DATA)?;
    stage.watch(&mut ours);
    stage.now(&ours, "it has come")?;
    stage.input(&ours, || ours.recv(&mut [0; 64]))?;
    let none = stage.input(&ours, || ours.recv(&mut [0; 64]));
    if !would_block(&none) {
        return Err(io::Error::other("a second datagram, where one was sent"));
    }
    stage.now(&ours, "it was read, then EAGAIN")
}

fn datagram_empty(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect_datagrams()?;
    peer.send(b"")?;
    arrived(&ours, DATA)?;
    stage.watch(&mut ours);
    stage.now(&ours, "it has come")
}

fn datagram_refused(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect_datagrams()?;
    drop(peer);
    ours.send(b"anybody?")?;
    // Where the refusal is not told, as on Windows, this gives up.
    arrived(&ours, PollFlags::ERR)?;
    stage.watch(&mut ours);
    stage.now(&ours, "the refusal has come")?;
    let refused = stage.input(&ours, || ours.recv(&mut [0; 64]));
    let none = stage.input(&ours, || ours.recv(&mut [0; 64]));
    if refused.map_err(|error| error.kind()) != Err(io::ErrorKind::ConnectionRefused)
        || !would_block(&none)
    {
        return Err(io::Error::other("a read told something else than the refusal"));
    }
    stage.now(&ours, "a read said so, then EAGAIN")
}
