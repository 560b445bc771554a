//! Registering twice, for nothing, by a duplicate; and closing what is watched.

use std::io::{self, Write};
use std::net::Shutdown;

use polyloop::Interest;
use rustix::event::PollFlags;

use super::scenario::{only, Group, Scenario};
use super::stage::{arrived, Stage, DATA, END};
use crate::sockets::{abort, connect};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "twice",
        what: "the same descriptor is watched twice",
        why: "poll and select are handed a list and do not mind who stands in it twice. epoll keeps \
              a table by descriptor and open file, and says EEXIST; kqueue takes the second \
              registration for a change of the first. On polyloop it is AlreadyExists on every \
              backend, in release builds too.",
        see: &["epoll_ctl(2) on EEXIST", "poll(2)"],
        group: Group::Registrations,
        play: Some(twice),
    },
    Scenario {
        name: "duplicate",
        what: "a descriptor and its duplicate",
        why: "dup makes another descriptor of the same open file: both are ready together, and what \
              is read from one is gone from the other. To epoll they are two entries, since its key \
              is descriptor and open file.",
        see: &["dup(2)", "epoll(7), questions and answers"],
        group: Group::Registrations,
        play: only!(unix: unix::duplicate),
    },
    Scenario {
        name: "duplicate-left",
        what: "closed, but a duplicate is left",
        why: "epoll forgets a descriptor when its open file goes, not when the number is closed: as \
              long as a duplicate lives (in a child that inherited it, say), the entry lives on, \
              tells readiness under the closed number, and can no longer be removed, since \
              EPOLL_CTL_DEL of a closed number is EBADF. Calls that are handed a list say that the \
              number is bad. So deregister before closing; that is the only order that works \
              everywhere.",
        see: &["epoll(7), questions and answers", "dup(2)"],
        group: Group::Registrations,
        play: only!(unix: unix::duplicate_left),
    },
    Scenario {
        name: "closed-watched",
        what: "closed while it was watched",
        why: "epoll forgets a closed descriptor in silence: whoever waits for it waits for ever. \
              poll says NVAL for that entry, select fails as a whole with EBADF, without a word on \
              which descriptor it was. A backend declares in its caps which kind it is: one that \
              hands over its set reports the source once, with the error hint, and drops it.",
        see: &["epoll(7), questions and answers", "poll(2) on POLLNVAL", "select(2) on EBADF"],
        group: Group::Registrations,
        play: only!(unix: unix::closed_watched),
    },
    Scenario {
        name: "for-nothing",
        what: "watched for nothing, and hung up",
        why: "Errors and hang-ups are told unasked: an entry of poll or epoll with no flag at all \
              still tells them, at once and on a level for ever, which is how a paused connection \
              spins. On polyloop interest none is silence: the source leaves the kernel's set. What \
              came meanwhile is told when something is asked for again.",
        see: &["poll(2) on POLLHUP", "epoll_ctl(2) on EPOLLHUP"],
        group: Group::Registrations,
        play: Some(for_nothing),
    },
    Scenario {
        name: "readable-only",
        what: "asked for readable only, and reset",
        why: "What was not asked for is not told; error and hang-up are, on top. polyloop tells them \
              as what was asked for, readable here, with the hints.",
        see: &["poll(2)", "epoll_ctl(2)"],
        group: Group::Registrations,
        play: Some(readable_only),
    },
    Scenario {
        name: "writable-only",
        what: "asked for writable only",
        why: "Data and the end of input stay in the kernel, untold: that is how reading is paused, \
              and how a peer is held back (its window fills). A reset is told nevertheless.",
        see: &["poll(2)", "epoll_ctl(2)"],
        group: Group::Registrations,
        play: Some(writable_only),
    },
    Scenario {
        name: "priority-only",
        what: "asked for priority data only",
        why: "Plain data is no priority data, and a half-close is none either: silence.",
        see: &["poll(2) on POLLPRI", "tcp(7) on urgent data"],
        group: Group::Registrations,
        play: Some(priority_only),
    },
];

fn twice(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, _peer) = connect()?;
    stage.watch(&mut ours);
    stage.watch(&mut ours);
    stage.now(&ours, "registered a second time")
}

fn for_nothing(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect()?;
    stage.watch_for(&mut ours, Interest::NONE);
    drop(peer);
    arrived(&ours, END)?;
    stage.now(&ours, "the peer closed")?;
    ours.shutdown(Shutdown::Write)?;
    stage.when(&ours, PollFlags::HUP, "we shut down our half too")?;
    stage.change(&mut ours, Interest::READABLE);
    stage.now(&ours, "readable is asked for now")
}

fn readable_only(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect()?;
    stage.watch_for(&mut ours, Interest::READABLE);
    stage.now(&ours, "there is room, and no data")?;
    abort(peer)?;
    stage.when(&ours, PollFlags::HUP, "the reset has come")
}

fn writable_only(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, mut peer) = connect()?;
    peer.write_all(b"x")?;
    peer.shutdown(Shutdown::Write)?;
    arrived(&ours, DATA | END)?;
    stage.watch_for(&mut ours, Interest::WRITABLE);
    stage.now(&ours, "data and the end of input")?;
    abort(peer)?;
    stage.when(&ours, PollFlags::HUP, "the reset has come")
}

fn priority_only(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, mut peer) = connect()?;
    peer.write_all(b"x")?;
    peer.shutdown(Shutdown::Write)?;
    arrived(&ours, DATA | END)?;
    stage.watch_for(&mut ours, Interest::PRIORITY);
    stage.now(&ours, "data and the end of input")
}

#[cfg(unix)]
mod unix {
    use std::io::{self, Write};
    use std::mem::ManuallyDrop;
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::net::TcpStream;

    use crate::atlas::stage::{arrived, Stage, DATA};
    use crate::sockets::{connect, watchable};
    use crate::unix::Numbered;

    fn duplicate_of(stream: &TcpStream) -> io::Result<TcpStream> {
        let duplicate = rustix::io::fcntl_dupfd_cloexec(stream, 0)?;
        Ok(watchable(duplicate.into()))
    }

    /// Closes a stream and keeps its name, as no program should: what is said of such a number is
    /// what the scenario is about. Nobody else gets the number while it is asked about.
    fn closed(_: &Numbered, stream: TcpStream) -> io::Result<ManuallyDrop<OwnedFd>> {
        // An owner that is dropped would close once more.
        let name = ManuallyDrop::new(OwnedFd::from(std::net::TcpStream::from(stream)));
        nix::unistd::close(name.as_raw_fd())?;
        Ok(name)
    }

    pub(super) fn duplicate(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut ours, mut peer) = connect()?;
        let mut duplicate = duplicate_of(&ours)?;
        stage.watch(&mut ours);
        stage.watch(&mut duplicate);
        peer.write_all(b"x")?;
        stage.when(&ours, DATA, "data: the descriptor")?;
        stage.now(&duplicate, "data: its duplicate")
    }

    pub(super) fn duplicate_left(stage: &mut Stage<'_>) -> io::Result<()> {
        let numbers = Numbered::new();
        let (ours, mut peer) = connect()?;
        let mut ours = numbers.renumber(ours)?;
        let duplicate = duplicate_of(&ours)?;
        stage.watch(&mut ours);
        let name = closed(&numbers, ours)?;
        peer.write_all(b"x")?;
        arrived(&duplicate, DATA)?;
        stage.now(&*name, "data: the closed number")
    }

    pub(super) fn closed_watched(stage: &mut Stage<'_>) -> io::Result<()> {
        let numbers = Numbered::new();
        let (ours, _peer) = connect()?;
        let mut ours = numbers.renumber(ours)?;
        stage.watch(&mut ours);
        let name = closed(&numbers, ours)?;
        stage.now(&*name, "the closed number")?;
        stage.now(&*name, "the same, asked again")
    }
}
