//! What a protocol may do with its connection.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::machine::{Environment, Machine};
use crate::{Config, Handle, Peer, Tick, TimerId};

/// A connection, as its [`Protocol`](crate::Protocol) sees it during a call.
///
/// What is asked here is done when the call returns: output is written at once if the kernel takes
/// it, and queued if not. Writing is also possible with `write!`, through [`io::Write`], and never
/// fails; what is sent after [`finish`](Connection::finish), [`close`](Connection::close) or
/// [`abort`](Connection::abort) is dropped.
pub struct Connection<'a>(pub(crate) Environment<'a>);

impl Connection<'_> {
    /// Sends bytes, after what was sent before.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) {
        let Environment { machine, output, config, .. } = &mut self.0;
        if !machine.is_steady() {
            return send_behind(machine, output, config, bytes);
        }
        output.extend_from_slice(bytes);
        if output.len() > config.high_water {
            machine.rise();
        }
    }

    /// Bytes that were sent and that the kernel has not taken yet, those of this call included.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.output.len() + self.0.machine.waiting()
    }

    /// Whether so much output waits that [`drained`](crate::Protocol::drained) will be called: a
    /// protocol that produces without end stops here.
    #[must_use]
    pub fn is_above_high_water(&self) -> bool {
        self.0.machine.is_above_high_water()
    }

    /// Sends nothing more: the peer sees the end of input when it has all that was sent. Input
    /// goes on until the peer's end, and then the connection is closed.
    pub fn finish(&mut self) {
        self.0.machine.finish();
    }

    /// Closes the connection once what was sent is flushed, that is, once the kernel has it all. No
    /// further input is shown.
    ///
    /// If the peer has sent something that nobody read, or sends more, the system answers with a
    /// reset, and output that had not reached the peer may be lost with it (RFC 9112, 9.6). A
    /// protocol whose peer may still be sending [finishes](Connection::finish) instead, ignores what
    /// comes, and closes in [`ended`](crate::Protocol::ended) or when a timer is due.
    pub fn close(&mut self) {
        self.0.machine.close();
    }

    /// Closes the connection now; what waits to be sent is lost.
    pub fn abort(&mut self) {
        self.0.machine.abort();
    }

    /// Stops reading, so that the peer's sending comes to rest when the kernel's buffers are full.
    pub fn pause(&mut self) {
        self.0.machine.pause();
    }

    /// Reads again. Input that was left unused is shown again at once.
    pub fn resume(&mut self) {
        self.0.machine.resume();
    }

    /// Sets a timer: [`Protocol::timer`](crate::Protocol::timer) is called after `after`, unless
    /// the connection is gone by then.
    ///
    /// # Panics
    ///
    /// With 2^24 timers pending on the loop, counting one more for each connection that has any.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        let deadline = Tick::now().after(after);
        self.0.timers.insert_into(self.0.machine.timers(), deadline, self.0.token)
    }

    /// Cancels a timer, which this connection has set, and says whether it was still pending. With
    /// the id of another connection's, that one's timer may be cancelled, or one of this one's.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.0.timers.cancel(timer)
    }

    /// Who is at the other end. The model `uring` asks the kernel, with the first call for a
    /// connection, and takes it for 0.0.0.0:0 if a policy forbids that; all others know.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        (self.0.peer)()
    }

    /// Makes a handle, with which other connections and other threads reach this one.
    #[must_use]
    pub fn handle(&self) -> Handle {
        (self.0.handle)()
    }
}

/// A connection that was accepted and has no [`Protocol`](crate::Protocol) yet: what a server's
/// factory is given to make one.
///
/// ```
/// use polyloop::{Accepted, Connection, Protocol};
///
/// /// Says whom it talks to.
/// struct Mirror {
///     peer: String,
/// }
///
/// impl Protocol for Mirror {
///     fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
///         connection.send(self.peer.as_bytes());
///         input.len()
///     }
/// }
///
/// let factory = |accepted: &Accepted<'_>| Mirror { peer: accepted.peer().to_string() };
/// # polyloop::Server::builder().listen("127.0.0.1:0").build(factory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Accepted<'a>(&'a dyn Fn() -> &'a Peer);

impl<'a> Accepted<'a> {
    /// A connection of which `peer` tells who is at the other end.
    #[must_use]
    pub fn new(peer: &'a dyn Fn() -> &'a Peer) -> Accepted<'a> {
        Accepted(peer)
    }

    /// Who is at the other end. See [`Connection::peer`].
    #[must_use]
    pub fn peer(&self) -> &Peer {
        (self.0)()
    }
}

impl fmt::Debug for Accepted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("peer", self.peer()).finish()
    }
}

/// Sends on a connection of which there is more to say than that it waits for input.
#[cold]
#[inline(never)] // and given no more than it needs, for the sake of the other path
fn send_behind(machine: &mut Machine, output: &mut Vec<u8>, config: &Config, bytes: &[u8]) {
    if machine.may_send() {
        output.extend_from_slice(bytes);
        if output.len() + machine.waiting() > config.high_water {
            machine.rise();
        }
    }
}

impl io::Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer()).finish_non_exhaustive()
    }
}
