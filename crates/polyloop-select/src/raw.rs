//! The only unsafe code of the crate: descriptors that outlive their borrow.

use polyloop::RawSource;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;

/// An entry for poll(2) that watches `raw` for as long as the caller keeps it in its set.
///
/// A [`PollFd`] borrows its descriptor. A backend can't borrow: its user owns the source, uses it
/// between two waits, and may close it without a word. The contract of
/// [`Backend`](polyloop::Backend) asks for `deregister` first; for a user who forgets, this is
/// what a stale entry can and cannot do:
///
/// - poll(2) reads and writes no memory through a descriptor. A closed one is answered with
///   `POLLNVAL`, upon which the backend drops the entry.
/// - If the number was given to another file in the meantime, that file is watched under the old
///   token, until it is deregistered. The loop drops such an event when the token is gone. No
///   input or output is ever done through the entry.
pub(crate) fn watch(raw: RawSource, asked: PollFlags) -> PollFd<'static> {
    // SAFETY: the number comes from an open source (`Source::raw`), so it is not -1. It is handed
    // to poll(2) and nothing else, which tolerates one that has been closed since, as above.
    let descriptor = unsafe { BorrowedFd::borrow_raw(raw) };
    PollFd::from_borrowed_fd(descriptor, asked)
}
