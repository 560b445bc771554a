//! What is told again, and what only once: levels, edges, one shot.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream as Peer};

use mio::net::{TcpListener, TcpStream};
use polyloop::Interest;
use socket2::SockRef;

use super::scenario::{only, Group, Scenario};
use super::stage::{arrived, bytes_arrived, delivered, Stage, DATA, END, PRIORITY};
use crate::sockets::{connect, ANY};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "left-over",
        what: "data, of which some is left over",
        why: "A level says what is, as often as it is asked. An edge says that something has come, \
              once; what is left over after a read is no news. One shot says it once, too, and \
              then nothing at all until it is armed again. polyloop's loop remembers on an edge \
              that no read has said EAGAIN yet, and dispatches the handler again in the next turn: \
              the same on all.",
        see: &["epoll(7) on level-triggered and edge-triggered"],
        group: Group::Triggers,
        play: Some(left_over),
    },
    Scenario {
        name: "left-over-more",
        what: "new data while some is left over",
        why: "Data that comes is an edge whether or not the buffer was empty (on Linux; do not \
              build on it: Windows tells nothing before a read has said EAGAIN). So a reader that \
              stops too early is saved by a lively peer and hangs with a quiet one.",
        see: &["epoll(7)", "mio, Poll, on portability"],
        group: Group::Triggers,
        play: Some(left_over_more),
    },
    Scenario {
        name: "untouched-more",
        what: "new data while nothing was read",
        why: "The same, without a read in between: each arrival is an edge, though two that come \
              before anybody looks are told as one.",
        see: &["epoll(7)"],
        group: Group::Triggers,
        play: Some(untouched_more),
    },
    Scenario {
        name: "drained-more",
        what: "new data after a read said EAGAIN",
        why: "The one pattern that is right on every kind and every system: read until EAGAIN, \
              then wait. One shot stays silent, since it was not armed again.",
        see: &["epoll(7)", "epoll_ctl(2) on EPOLLONESHOT"],
        group: Group::Triggers,
        play: Some(drained_more),
    },
    Scenario {
        name: "left-over-end",
        what: "the end of input while some is left over",
        why: "An end is an edge as data is. It is the last one: whoever does not read to the end \
              now is never told again.",
        see: &["epoll(7)", "epoll_ctl(2) on EPOLLRDHUP"],
        group: Group::Triggers,
        play: Some(left_over_end),
    },
    Scenario {
        name: "rearmed",
        what: "left over, and registered anew",
        why: "EPOLL_CTL_MOD looks at the source again and tells what is ready, on an edge and after \
              one shot too, even when nothing was changed. It is the price of one shot: a system \
              call for each event.",
        see: &["epoll_ctl(2) on EPOLL_CTL_MOD and EPOLLONESHOT"],
        group: Group::Triggers,
        play: Some(rearmed),
    },
    Scenario {
        name: "room-lasts",
        what: "room for output, nothing is written",
        why: "On a level, writable is told for as long as there is room, that is, nearly always: ask \
              for it only while output waits. On an edge it costs one event when it is registered \
              and nothing after. A handler on polyloop that asks for writable is told until a write \
              has said EAGAIN, on both.",
        see: &["epoll(7)"],
        group: Group::Triggers,
        play: Some(room_lasts),
    },
    Scenario {
        name: "accept-one",
        what: "two connections wait, one is accepted",
        why: "The queue of a listener is input like any other: on an edge, accept until EAGAIN, or \
              the second client waits until a third one comes.",
        see: &["epoll(7)", "accept(2)"],
        group: Group::Triggers,
        play: Some(accept_one),
    },
    Scenario {
        name: "out-of-band-amid",
        what: "an out-of-band byte between two writes",
        why: "A read stops at the mark: it returns abc though def has come. A reader that takes a \
              short read for an empty buffer (it saves the read that says EAGAIN) stops there, and \
              on an edge nothing is ever told of def. polyloop asks for priority data beside \
              readable on such backends, and does not trust a short read after it was told any.",
        see: &["tcp(7) on urgent data", "epoll(7), questions and answers on EAGAIN"],
        group: Group::Triggers,
        play: Some(out_of_band_between),
    },
    Scenario {
        name: "descriptor-between",
        what: "a passed descriptor between two writes",
        why: "Bytes that carry descriptors over a Unix socket are a boundary in the stream: a read \
              ends behind them, however large its buffer. A second reason why a short read proves \
              nothing; polyloop's loop trusts one on TCP only.",
        see: &["unix(7) on SCM_RIGHTS", "recvmsg(2)"],
        group: Group::Triggers,
        play: only!(unix: unix::descriptor_between),
    },
];

const TEN: &[u8; 10] = b"0123456789";

/// Ten bytes have come, and been told to somebody who asked for readable only.
fn ten_bytes(stage: &mut Stage<'_>) -> io::Result<(TcpStream, Peer)> {
    let (mut ours, mut peer) = connect()?;
    stage.watch_for(&mut ours, Interest::READABLE);
    peer.write_all(TEN)?;
    stage.when(&ours, DATA, "ten bytes have come")?;
    Ok((ours, peer))
}

/// The same, of which four were read.
fn six_left_over(stage: &mut Stage<'_>) -> io::Result<(TcpStream, Peer)> {
    let (ours, peer) = ten_bytes(stage)?;
    stage.read_stream(&ours, 4)?;
    stage.now(&ours, "four of them were read")?;
    Ok((ours, peer))
}

fn left_over(stage: &mut Stage<'_>) -> io::Result<()> {
    let (ours, _peer) = ten_bytes(stage)?;
    stage.now(&ours, "nothing was done")?;
    stage.read_stream(&ours, 4)?;
    stage.now(&ours, "four of them were read")
}

fn left_over_more(stage: &mut Stage<'_>) -> io::Result<()> {
    let (ours, mut peer) = six_left_over(stage)?;
    peer.write_all(TEN)?;
    bytes_arrived(&ours, 16)?;
    stage.now(&ours, "ten more have come")
}

fn untouched_more(stage: &mut Stage<'_>) -> io::Result<()> {
    let (ours, mut peer) = ten_bytes(stage)?;
    peer.write_all(TEN)?;
    bytes_arrived(&ours, 20)?;
    stage.now(&ours, "ten more have come")
}

fn drained_more(stage: &mut Stage<'_>) -> io::Result<()> {
    let (ours, mut peer) = ten_bytes(stage)?;
    while stage.read_stream(&ours, 10).is_ok() {}
    stage.now(&ours, "read until EAGAIN")?;
    peer.write_all(TEN)?;
    stage.when(&ours, DATA, "ten more have come")
}

fn left_over_end(stage: &mut Stage<'_>) -> io::Result<()> {
    let (ours, peer) = six_left_over(stage)?;
    peer.shutdown(Shutdown::Write)?;
    stage.when(&ours, END, "the peer shut down its half")
}

fn rearmed(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, _peer) = six_left_over(stage)?;
    stage.change(&mut ours, Interest::READABLE);
    stage.now(&ours, "asked for readable again")
}

fn room_lasts(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, _peer) = connect()?;
    stage.watch_for(&mut ours, Interest::WRITABLE);
    stage.now(&ours, "there is room")?;
    stage.now(&ours, "nothing was done")
}

fn accept_one(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut listener = TcpListener::bind(ANY.into())?;
    let address = listener.local_addr()?;
    let _peers = [Peer::connect(address)?, Peer::connect(address)?];
    delivered()?;
    arrived(&listener, DATA)?;
    stage.watch_for(&mut listener, Interest::READABLE);
    stage.now(&listener, "two have connected")?;
    let accept = || listener.accept().map(|_| 1);
    stage.input(&listener, accept)?;
    stage.now(&listener, "one was accepted")?;
    stage.input(&listener, accept)?;
    if stage.input(&listener, accept).is_ok() {
        return Err(io::Error::other("somebody else has connected"));
    }
    stage.now(&listener, "accepted until EAGAIN")
}

fn out_of_band_between(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, mut peer) = connect()?;
    stage.watch_for(&mut ours, Interest::READABLE);
    peer.write_all(b"abc")?;
    SockRef::from(&peer).send_out_of_band(b"!")?;
    peer.write_all(b"def")?;
    delivered()?;
    stage.when(&ours, DATA | PRIORITY, "abc, an urgent byte, def")?;
    if stage.read_stream(&ours, 64)? != 3 {
        return Err(io::Error::other("the read did not stop at the mark"));
    }
    stage.now(&ours, "a read returned abc")?;
    // Nothing behind the mark is lost, whatever was told.
    let mut rest = [0; 3];
    (&ours).read_exact(&mut rest)?;
    if &rest != b"def" {
        return Err(io::Error::other("what stood behind the mark was lost"));
    }
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::io::{self, IoSlice, Read, Write};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    use polyloop::Interest;
    use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

    use crate::atlas::stage::Stage;
    use crate::atlas::unix_sockets::pair;

    pub(super) fn descriptor_between(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut ours, mut peer) = pair()?;
        stage.watch_for(&mut ours, Interest::READABLE);
        let passed = [peer.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&passed)) {
            return Err(io::Error::other("one descriptor does not fit"));
        }
        sendmsg(&peer, &[IoSlice::new(b"abc")], &mut control, SendFlags::empty())?;
        peer.write_all(b"def")?;
        stage.now(&ours, "abc with a descriptor, def")?;
        if stage.input(&ours, || (&ours).read(&mut [0; 64]))? != 3 {
            return Err(io::Error::other("the read did not stop behind the descriptor"));
        }
        stage.now(&ours, "a read returned abc")
    }
}
