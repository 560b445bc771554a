//! Reaching a connection, and a server, from elsewhere.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::{Counts, Token};

/// Reaches one connection from other connections and other threads. Cheap to clone.
///
/// [`Connection::handle`](crate::Connection::handle) makes it. What is asked of a connection that
/// is gone is dropped in silence: it may have ended a moment ago, and its
/// [`closed`](crate::Protocol::closed) is where to take it off a list.
///
/// It reaches no further than its process. Where each connection is a process, as in the model
/// `process` of `polyloop-models`, it reaches only the connection that made it, and what a factory
/// shares among connections is not shared: each has a copy.
#[derive(Clone)]
pub struct Handle {
    remote: Arc<dyn Remote>,
    token: Token,
}

/// How a model carries what a [`Handle`] asks to the connection.
pub trait Remote: Send + Sync {
    /// Sends `bytes` on the connection `token`, after what was sent before.
    fn send(&self, token: Token, bytes: Arc<[u8]>);

    /// Closes the connection `token` once what waits is flushed.
    fn close(&self, token: Token);
}

impl Handle {
    /// Makes the handle of the connection `token`.
    pub fn new(remote: Arc<dyn Remote>, token: Token) -> Handle {
        Handle { remote, token }
    }

    /// Where the remote is, whatever its type.
    fn address(&self) -> *const () {
        Arc::as_ptr(&self.remote).cast()
    }

    /// Sends bytes, after what was sent before. Sharing one `Arc<[u8]>` spares a copy for each of
    /// many receivers.
    ///
    /// It never blocks. A receiver that falls behind by more than
    /// [`Config::max_output`](crate::Config::max_output) is closed. On a loop each call is a
    /// message, looked at in the next turn, and counts for that limit from then on: a thread that
    /// sends faster than the loop turns has to pace itself, and whoever answers a thousand lines
    /// with a line to each of a thousand members joins the lines first.
    pub fn send(&self, bytes: impl Into<Arc<[u8]>>) {
        self.remote.send(self.token, bytes.into());
    }

    /// Closes the connection once what waits is flushed.
    pub fn close(&self) {
        self.remote.close(self.token);
    }
}

/// Two handles are equal if they reach the same connection.
impl PartialEq for Handle {
    fn eq(&self, other: &Handle) -> bool {
        self.token == other.token && self.address() == other.address()
    }
}

impl Eq for Handle {}

impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.token.hash(state);
        self.address().hash(state);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.token).finish()
    }
}

/// Ends a running server and shows what it counts, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct ServerHandle(Arc<dyn Control>);

/// What a model does for a [`ServerHandle`].
pub trait Control: Send + Sync {
    /// Closes the listeners, lets connections finish what they are in the middle of, and ends.
    fn drain(&self);

    /// Closes everything and ends.
    fn stop(&self);

    /// What was counted up to now, over all loops and threads, ended ones included.
    fn counts(&self) -> Counts;

    /// The same, of each loop by itself.
    fn loops(&self) -> Vec<Counts> {
        vec![self.counts()]
    }
}

impl ServerHandle {
    /// Makes a handle of what a model provides.
    pub fn new(control: Arc<dyn Control>) -> ServerHandle {
        ServerHandle(control)
    }

    /// Closes the listeners, lets each connection finish what it is in the middle of, and ends the
    /// server when all are gone or [`Config::drain`](crate::Config::drain) is over.
    pub fn drain(&self) {
        self.0.drain();
    }

    /// Closes everything and ends the server.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// What was counted up to now, over all loops and threads, ended ones included. Where each
    /// connection is a process, what it counts is known when it has ended.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// The same for each loop by itself: who opened how many connections. A model without loops
    /// counts as one.
    #[must_use]
    pub fn loops(&self) -> Vec<Counts> {
        self.0.loops()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerHandle")
    }
}
