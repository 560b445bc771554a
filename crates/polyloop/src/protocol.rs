//! What a connection says.

use std::fmt;
use std::io;

use crate::{Connection, TimerId};

/// What one connection says: bytes in, bytes out, no socket in sight.
///
/// It is written once and served by any model: an event loop on any [`Backend`](crate::Backend),
/// or a thread that blocks. One value is made for each connection, by the factory that
/// [`ServerBuilder::build`](crate::ServerBuilder::build) is given.
///
/// ```
/// use polyloop::{Connection, Protocol};
///
/// /// Answers each line with its length.
/// struct Measure;
///
/// impl Protocol for Measure {
///     fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
///         let mut used = 0;
///         for line in input.split_inclusive(|&byte| byte == b'\n') {
///             if !line.ends_with(b"\n") {
///                 break; // the rest of it is still to come
///             }
///             connection.send(format!("{}\n", line.len() - 1).as_bytes());
///             used += line.len();
///         }
///         used
///     }
/// }
/// ```
///
/// # Panics
///
/// A protocol that panics takes with it whoever serves it. On threads and processes of its own that
/// is its connection; on a loop it is the server, whose `run` panics: all its connections are closed,
/// and [`closed`](Protocol::closed) is called for none of them.
pub trait Protocol: Send {
    /// The connection is open. The place for a greeting.
    fn opened(&mut self, connection: &mut Connection<'_>) {
        let _ = connection;
    }

    /// Input has come. Returns how much of it was used.
    ///
    /// A stream has no messages: `input` may hold a part of one, or several. What is not used is
    /// kept and shown again at the front of what comes next, so a protocol that waits for the rest
    /// of a message returns the length of the whole messages before it. It is also shown again,
    /// without anything new, after [`drained`](Protocol::drained) and after
    /// [`Connection::resume`], so that a protocol may stop in the middle of its input.
    ///
    /// # Panics
    ///
    /// A server panics in debug builds if more than `input.len()` is returned; in release builds
    /// that counts as all of it.
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize;

    /// The peer will send nothing more. It may still be reading: by default what is queued is
    /// flushed and the connection closed.
    ///
    /// What was left unused is an unfinished message, and lost; a protocol for which the end of
    /// the input ends a message keeps a copy of what it leaves.
    fn ended(&mut self, connection: &mut Connection<'_>) {
        connection.close();
    }

    /// The output had been above the [high-water mark](crate::Config::high_water) and has fallen
    /// to the low one: a protocol that produces more than it was asked for goes on here.
    fn drained(&mut self, connection: &mut Connection<'_>) {
        let _ = connection;
    }

    /// A timer that [`Connection::set_timer`] set is due.
    fn timer(&mut self, connection: &mut Connection<'_>, timer: TimerId) {
        let _ = (connection, timer);
    }

    /// The connection is gone. Called once for each that was opened, and last.
    fn closed(&mut self, reason: Closed) {
        let _ = reason;
    }
}

/// Why a connection ended: one list for all systems, derived from what `read` and `write` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The protocol closed it, or both sides had finished.
    Finished,
    /// The peer reset it, or left while something was being sent to it.
    Reset,
    /// Reading or writing failed in another way.
    Failed(io::ErrorKind),
    /// Nothing moved for [`Config::idle`](crate::Config::idle).
    Idle,
    /// A message stood unfinished for [`Config::read`](crate::Config::read).
    ReadTimeout,
    /// The peer took nothing of what waits for it for [`Config::write`](crate::Config::write).
    WriteTimeout,
    /// More input than [`Config::max_input`](crate::Config::max_input) was left unused.
    InputTooLong,
    /// More output than [`Config::max_output`](crate::Config::max_output) waits.
    OutputTooLong,
    /// The server drained: the connection had nothing more to do, or its time was up.
    Drained,
    /// The server stopped.
    Stopped,
}

impl Closed {
    /// What an error of `read` or `write` means.
    #[must_use]
    pub fn from_error(error: &io::Error) -> Closed {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Closed::Reset,
            kind => Closed::Failed(kind),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Closed::Finished => "finished",
            Closed::Reset => "reset by the peer",
            Closed::Failed(kind) => return write!(f, "failed: {kind}"),
            Closed::Idle => "idle for too long",
            Closed::ReadTimeout => "a message stood unfinished for too long",
            Closed::WriteTimeout => "the peer took nothing for too long",
            Closed::InputTooLong => "a message was too long",
            Closed::OutputTooLong => "the peer fell too far behind",
            Closed::Drained => "drained",
            Closed::Stopped => "stopped",
        })
    }
}
