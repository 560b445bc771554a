//! Where the sockets of one system are not as those of another.

/// Whether a read that fills less than its buffer has emptied the socket, so that the next arrival
/// is an event of its own: where [`INPUT`] tells of all at which a read stops short.
pub(super) const SHORT_READ_EMPTIES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What to ask mio for in order to hear of all input. On epoll that is priority data as well: a read
/// stops at an out-of-band byte, and without the hint a short one would seem to have emptied the
/// socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const INPUT: mio::Interest = mio::Interest::READABLE.add(mio::Interest::PRIORITY);

/// What to ask mio for in order to hear of all input.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const INPUT: mio::Interest = mio::Interest::READABLE;

/// Says whether an error of a non-blocking `connect` means that it goes on in the background:
/// `EINPROGRESS` on Unix, `WSAEWOULDBLOCK` on Windows.
pub(super) fn connect_goes_on(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) {
        return true;
    }
    error.kind() == std::io::ErrorKind::WouldBlock
}
