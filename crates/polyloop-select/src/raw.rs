//! The only unsafe code of the crate: descriptors that outlive their borrow.

use std::mem::{align_of, size_of};

use polyloop::{BorrowedSource, RawSource};
use rustix::event::{FdSetElement, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// The descriptor behind a number, for as long as the caller keeps the number in its set.
///
/// A backend can't borrow: its user owns the source, uses it between two waits, and may close it
/// without a word. The contract of [`Backend`](polyloop::Backend) asks for `deregister` first; for
/// a user who forgets, this is what a stale number can and cannot do:
///
/// - poll(2), select(2), and the calls that ask what became of a descriptor read and write no
///   memory through it. A closed one is answered with `POLLNVAL` or `EBADF`, upon which the backend
///   drops it.
/// - If the number was given to another file in the meantime, that file is watched under the old
///   token, until it is deregistered. The loop drops such an event when the token is gone. No
///   input or output is ever done through the number.
pub(crate) fn borrowed(raw: RawSource) -> BorrowedSource<'static> {
    // SAFETY: the number comes from an open source (`Source::raw`), so it is not -1. It is handed
    // to calls that tolerate one that has been closed since, as above, and to nothing else.
    unsafe { BorrowedSource::borrow_raw(raw) }
}

/// An entry for poll(2) that watches `raw` for as long as the caller keeps it in its set.
pub(crate) fn watch(raw: RawSource, asked: PollFlags) -> PollFd<'static> {
    PollFd::from_borrowed_fd(borrowed(raw), asked)
}

/// What select(2) counts in: so many descriptors share one, or it is one socket of Windows'.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    windows
))]
pub(crate) type Word = usize;
/// What select(2) counts in: so many descriptors share one.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    windows
)))]
pub(crate) type Word = u32;

const _: () = assert!(
    size_of::<Word>() == size_of::<FdSetElement>()
        && align_of::<Word>() == align_of::<FdSetElement>(),
    "a word is what an element of a set is made of"
);

/// Waits with select(2): for input, room and exceptional conditions.
///
/// # Panics
///
/// If a set has no room for `bound` descriptors, or on Windows for the sockets that it counts.
pub(crate) fn select(
    bound: i32,
    sets: [Option<&mut [Word]>; 3],
    timeout: Option<&Timespec>,
) -> Result<usize, Errno> {
    let [readable, writable, exceptional] = sets.map(|set| set.map(elements));
    // SAFETY: numbers in the sets may have been closed meanwhile, which select tolerates: see
    // `borrowed`. rustix checks that the sets are as long as the call takes them to be.
    let told = unsafe { rustix::event::select(bound, readable, writable, exceptional, timeout) };
    told.map(|count| usize::try_from(count).unwrap_or(0))
}

/// The same memory as rustix names it.
fn elements(words: &mut [Word]) -> &mut [FdSetElement] {
    // SAFETY: an element is a transparent wrapper around an integer, of the size and alignment of
    // a word as the assertion above has checked, and any bits are a valid one. The slice is lent
    // for as long as `words` was.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
}
