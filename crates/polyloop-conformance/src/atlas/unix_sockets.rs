//! Sockets of the Unix domain.

use super::scenario::{only, Group, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "unix-closed",
        what: "the peer closed a Unix stream",
        why: "There is no network between the two ends, so a close is known for what it is: both \
              directions are over, and HUP is told at once. A program that was tested on Unix \
              sockets only and waits for HUP never sees a TCP peer leave.",
        see: &["unix(7)", "poll(2) on POLLHUP"],
        group: Group::UnixSockets,
        play: only!(unix: play::closed),
    },
    Scenario {
        name: "unix-closed-unread",
        what: "the peer closed and left data unread",
        why:
            "Bytes that we sent were never read. The kernel says so with the error ECONNRESET, as \
              TCP does with a reset.",
        see: &["unix(7)", "close(2)"],
        group: Group::UnixSockets,
        play: only!(unix: play::closed_unread),
    },
    Scenario {
        name: "unix-half-close",
        what: "the peer shut down its sending half",
        why: "As on TCP: readable, with the end of input as what there is to read.",
        see: &["unix(7)", "shutdown(2)"],
        group: Group::UnixSockets,
        play: only!(unix: play::half_close),
    },
    Scenario {
        name: "unix-full",
        what: "a Unix stream whose send buffer is full",
        why: "A Unix stream has no receive buffer of its own: what the peer has not read counts \
              against ours for sending. Shutting both halves makes a full stream writable: a write \
              would fail, not block.",
        see: &["unix(7)", "socket(7) on SO_SNDBUF"],
        group: Group::UnixSockets,
        play: only!(unix: play::full),
    },
    Scenario {
        name: "unix-listener",
        what: "a listener with a connection waiting",
        why: "As on TCP, but that connect waits for nobody: it succeeds at once while the queue \
              has room, and a non-blocking one says EAGAIN, not EINPROGRESS, when it is full.",
        see: &["unix(7)", "connect(2) on EAGAIN"],
        group: Group::UnixSockets,
        play: only!(unix: play::listener_pending),
    },
];

#[cfg(unix)]
pub(super) use play::pair;

#[cfg(unix)]
mod play {
    use std::io::{self, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream as Peer;

    use mio::net::{UnixListener, UnixStream};

    use crate::atlas::stage::Stage;

    pub(in crate::atlas) fn pair() -> io::Result<(UnixStream, Peer)> {
        let (ours, peer) = Peer::pair()?;
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours), peer))
    }

    pub(super) fn closed(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut ours, peer) = pair()?;
        stage.watch(&mut ours);
        drop(peer);
        stage.now(&ours, "the peer closed")
    }

    pub(super) fn closed_unread(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut ours, peer) = pair()?;
        stage.watch(&mut ours);
        (&ours).write_all(b"never read")?;
        drop(peer);
        stage.now(&ours, "the peer closed")
    }

    pub(super) fn half_close(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut ours, peer) = pair()?;
        stage.watch(&mut ours);
        peer.shutdown(Shutdown::Write)?;
        stage.now(&ours, "the end of input")
    }

    pub(super) fn full(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut ours, _peer) = pair()?;
        stage.watch(&mut ours);
        stage.fill(&ours, |bytes| (&ours).write(bytes))?;
        stage.now(&ours, "a write said EAGAIN")?;
        ours.shutdown(Shutdown::Both)?;
        stage.now(&ours, "shutdown(SHUT_RDWR)")
    }

    pub(super) fn listener_pending(stage: &mut Stage<'_>) -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("socket");
        let mut listener = UnixListener::bind(&path)?;
        stage.watch(&mut listener);
        let _peer = Peer::connect(&path)?;
        stage.now(&listener, "somebody has connected")
    }
}
