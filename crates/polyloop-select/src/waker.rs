//! A pair of sockets with which another thread ends a wait.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use polyloop::{RawSource, Waker};

/// The end that is watched, and what wakers write to.
#[derive(Debug)]
pub(crate) struct WakeUp {
    receiver: Channel,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// A wake is on its way and has not been looked at: further ones need no system call.
    pending: AtomicBool,
    sender: Channel,
}

impl WakeUp {
    pub(crate) fn new() -> io::Result<WakeUp> {
        let (receiver, sender) = pair()?;
        let shared = Arc::new(Shared { pending: AtomicBool::new(false), sender });
        Ok(WakeUp { receiver, shared })
    }

    pub(crate) fn raw(&self) -> RawSource {
        raw(&self.receiver)
    }

    pub(crate) fn waker(&self) -> Waker {
        let shared = Arc::clone(&self.shared);
        Waker::new(move || {
            if shared.pending.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            loop {
                match (&shared.sender).write(&[1]) {
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // A full channel wakes as well as another byte would.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => {
                        // Nothing is on its way: the next wake has to try again.
                        shared.pending.store(false, Ordering::Release);
                        return Err(error);
                    }
                }
            }
        })
    }

    /// Takes note that the wait has ended.
    ///
    /// First the byte, then the flag: were it the other way round, a wake in between would have
    /// its byte read and its flag left standing, and no later one would be sent. This way round it
    /// is coalesced with the one that ended this wait.
    pub(crate) fn acknowledge(&self) {
        let mut bytes = [0; 16];
        let _ = (&self.receiver).read(&mut bytes);
        self.shared.pending.swap(false, Ordering::AcqRel);
    }
}

#[cfg(unix)]
use std::os::unix::net::UnixStream as Channel;

#[cfg(unix)]
fn pair() -> io::Result<(Channel, Channel)> {
    let (receiver, sender) = Channel::pair()?;
    receiver.set_nonblocking(true)?;
    sender.set_nonblocking(true)?;
    Ok((receiver, sender))
}

#[cfg(unix)]
fn raw(channel: &Channel) -> RawSource {
    std::os::fd::AsRawFd::as_raw_fd(channel)
}

#[cfg(windows)]
use udp::{pair, raw, Channel};

/// WSAPoll watches sockets only, and Windows has no pair of them: two UDP sockets on loopback that
/// are connected to each other, so that nobody else's datagram is taken.
#[cfg(windows)]
mod udp {
    use super::{io, RawSource, Read, Write};
    use std::net::{Ipv4Addr, UdpSocket};

    #[derive(Debug)]
    pub(super) struct Channel(UdpSocket);

    impl Read for &Channel {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.recv(buffer)
        }
    }

    impl Write for &Channel {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(super) fn pair() -> io::Result<(Channel, Channel)> {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sender.connect(receiver.local_addr()?)?;
        receiver.connect(sender.local_addr()?)?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        Ok((Channel(receiver), Channel(sender)))
    }

    pub(super) fn raw(channel: &Channel) -> RawSource {
        std::os::windows::io::AsRawSocket::as_raw_socket(&channel.0)
    }
}
