//! The seam between the loop and whatever tells it what is ready.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::{Interest, Readiness, Source, Token};

/// The longest wait of one call: some systems count milliseconds in 32 bits, or refuse more than a
/// few years. A wait may end early.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Answers one question: which tokens are ready?
///
/// A backend knows tokens and sources, never connections. It keeps its own table of what is
/// registered, and promises the following; each line is a test in `polyloop-conformance`.
///
/// 1. Registering a source twice is [`AlreadyExists`](io::ErrorKind::AlreadyExists); changing or
///    removing an unknown one is [`NotFound`](io::ErrorKind::NotFound).
/// 2. `poll` clears its output first. It may return early and empty, after a signal for instance.
/// 3. Timeout `None` blocks, zero does not, and a wait never ends before its time has come but for
///    rule 2; a fraction of a millisecond is rounded up where the system counts milliseconds. All
///    of that holds with nothing registered.
/// 4. Hang-ups and errors are folded into *readable* and *writable*, masked by what was asked and
///    kept as hints. No event is empty.
/// 5. A source of interest [`NONE`](Interest::NONE) is silent, and stays in the table.
/// 6. A source that is ready when it is registered or reregistered yields an event at the next
///    `poll`.
/// 7. No `poll` after a `deregister` yields the token that was removed.
/// 8. A source that the backend can't watch is refused by `register`, with an error that says
///    which can. One that was closed without `deregister` neither spins nor fails for ever;
///    [`Caps::kernel_set`] says whether it is told. Its number may come back as another
///    source: that is `AlreadyExists` as long as the number is in the table, and `deregister` of
///    the new source clears it.
/// 9. No source is favoured. Changes cost O(1).
/// 10. Wakes coalesce, and one that was sent before `poll` is not lost.
pub trait Backend {
    /// The name on the command line, in results and in messages.
    fn name(&self) -> &'static str;

    /// What differs from one backend to the next and can't be hidden.
    fn caps(&self) -> Caps;

    /// Watches `source` for `interest` and reports it as `token`, which is the caller's to choose:
    /// any with an [index](Token::index) up to [`Token::MAX_INDEX`]. An index costs a place in an
    /// array, so small ones are best; two sources must not have the same at a time.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if its number is in the table; `Unsupported` if this backend can't watch
    /// such a source; what the system says otherwise.
    fn register<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()>;

    /// Changes token and interest of a source. One that is ready is told at the next `poll`, on an
    /// edge too: whoever stopped before `WouldBlock` can so be told again.
    ///
    /// # Errors
    ///
    /// `NotFound` if its number is not in the table; what the system says otherwise.
    fn reregister<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()>;

    /// Stops watching a source.
    ///
    /// # Errors
    ///
    /// `NotFound` if its number is not in the table.
    fn deregister<S: Source + ?Sized>(&mut self, source: &mut S) -> io::Result<()>;

    /// Stops watching a source and closes it.
    ///
    /// A backend whose kernel forgets a closed descriptor saves a system call here. The source
    /// must be the only descriptor of its open file: a duplicate, or a child that inherited it,
    /// would keep a forgotten registration alive.
    fn close<S: Source>(&mut self, mut source: S) {
        // The one error is NotFound, and then there is nothing left to stop.
        let _ = self.deregister(&mut source);
    }

    /// Waits until something is ready, `timeout` is over, or somebody wakes it, and puts what is
    /// ready into `events`.
    ///
    /// # Errors
    ///
    /// What the system says; an interrupted call is no error but an early return.
    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()>;

    /// How many system calls the last `poll` made about sources, beside the one that waits. The
    /// loop counts them.
    fn further_calls(&self) -> u64 {
        0
    }

    /// Ends the present or the next `poll` from any thread.
    fn waker(&self) -> Waker;
}

/// How a kernel tells readiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Again and again, for as long as it lasts.
    #[default]
    Level,
    /// When something happens: input comes, room appears. What is left over is not told again.
    Edge,
}

/// What differs from one backend to the next and can't be hidden.
///
/// The loop reads the first two and hides them, and counts system calls by the kind of set; the
/// rest is for those who choose a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Level- or edge-triggered.
    pub trigger: Trigger,
    /// On an edge: whether a TCP read that fills less than its buffer leaves nothing behind that
    /// would not be told anew. Where it does not, only `WouldBlock` ends a read.
    pub short_read_drains: bool,
    /// Whether [`Interest::PRIORITY`] is told.
    pub priority: bool,
    /// Whether a hang-up is told as such, and an error whenever there is one. If not, the first is
    /// told as input that has ended, and an error as input and as room; only a connect that failed
    /// is told as one. Whoever waits for room alone may then not be told that its stream was shut
    /// down while its buffer was full.
    pub hangup: bool,
    /// Whether the kernel keeps the set of what is watched. If so, each change is a system call,
    /// and a source that was closed without `deregister` is forgotten in silence. If not, the set
    /// is handed over with each `poll`, which reports such a source once, with the error hint, and
    /// drops it from the table.
    pub kernel_set: bool,
    /// Whether a regular file can be watched. It is always ready; on kqueue, only while it has not
    /// been read to its end.
    pub regular_files: bool,
    /// Where there is a limit: descriptors from this number on are refused; on Windows, further
    /// sockets when there are so many of them, of which the waker is one.
    pub limit: Option<usize>,
}

/// One source that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name under which the source was registered.
    pub token: Token,
    /// What it is ready for; never empty.
    pub readiness: Readiness,
}

/// What one `poll` tells: a list with a fixed capacity, made once and filled again and again.
///
/// What does not fit is told by the next `poll`.
#[derive(Debug)]
pub struct Events {
    slots: Box<[Event]>,
    len: usize,
}

impl Events {
    /// Makes room for `capacity` events.
    ///
    /// # Panics
    ///
    /// If `capacity` is zero.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Events {
        assert!(capacity > 0, "room for no event at all would never tell anything");
        let nothing = Event { token: Token::new(0, 0), readiness: Readiness::EMPTY };
        Events { slots: vec![nothing; capacity].into_boxed_slice(), len: 0 }
    }

    /// How many events fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Whether no further event fits.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == self.slots.len()
    }

    /// Forgets all events; a backend begins `poll` with it.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds an event; a backend does that for each source that is ready, while the list is not
    /// [full](Events::is_full). To a full list nothing is added.
    ///
    /// # Panics
    ///
    /// In debug builds, if the list is full.
    #[inline]
    pub fn push(&mut self, token: Token, readiness: Readiness) {
        debug_assert!(!self.is_full(), "a backend asks is_full() before it adds");
        if let Some(slot) = self.slots.get_mut(self.len) {
            *slot = Event { token, readiness };
            self.len += 1;
        }
    }

    /// Adds events as long as they fit. The rest of them stays in the iterator.
    #[inline]
    pub fn fill(&mut self, mut events: impl Iterator<Item = Event>) {
        let slots = &mut self.slots[..];
        let mut len = self.len;
        while len < slots.len() {
            let Some(event) = events.next() else { break };
            slots[len] = event;
            len += 1;
        }
        self.len = len;
    }
}

impl std::ops::Deref for Events {
    type Target = [Event];
    fn deref(&self) -> &[Event] {
        &self.slots[..self.len]
    }
}

/// Ends a `poll` from another thread. Cheap to clone.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() -> io::Result<()> + Send + Sync>);

impl Waker {
    /// Makes a waker of the call that a backend needs.
    pub fn new(wake: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Waker {
        Waker(Arc::new(wake))
    }

    /// Ends the present `poll`, or the next one.
    ///
    /// # Errors
    ///
    /// What the system says of the call that wakes.
    pub fn wake(&self) -> io::Result<()> {
        (self.0)()
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
