//! A connection's socket, as threads use it that block.
//!
//! | a thread that | Unix | Windows |
//! |---|---|---|
//! | waits for input or for room | is in `read` or `write` | asks `WSAPoll`, and then calls |
//! | waits for a limited time | has told the socket its timeout | tells `WSAPoll` |
//! | is to look up from waiting | is woken by `shutdown` | by a datagram, for `shutdown` wakes nobody |

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(super) use unix::Socket;
#[cfg(windows)]
pub(super) use windows::Socket;
