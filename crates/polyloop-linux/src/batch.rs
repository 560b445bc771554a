//! Several datagrams at a call.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use mio::net::UdpSocket;
use mio::{event, Interest, Registry, Token};
use nix::sys::socket::{self, MsgFlags, MultiHeaders, SockaddrStorage};
use polyloop::datagram::{DatagramSocket, Inbox, Outbox};

/// Datagrams that one call moves at most. Past a few dozen the call itself no longer counts.
const BATCH: usize = 32;

/// A socket that receives up to 32 datagrams with one `recvmmsg` and sends as many with one
/// `sendmmsg`.
///
/// A `recvmmsg` that returns fewer than it had room for has met the end of what had come, which
/// spares the call that would say so. It waits for the first datagram only, if the socket blocks.
///
/// # Portability
///
/// On other systems there is none. macOS and Windows have no such call; FreeBSD's is a loop in
/// the C library around the calls for one.
///
/// # References
///
/// [recvmmsg(2)](https://man7.org/linux/man-pages/man2/recvmmsg.2.html),
/// [sendmmsg(2)](https://man7.org/linux/man-pages/man2/sendmmsg.2.html).
#[derive(Debug)]
pub struct BatchSocket {
    socket: UdpSocket,
    family: usize,
}

/// Where [`Headers`] for a family of addresses are.
const FAMILIES: [usize; 2] = [0, 1];

impl BatchSocket {
    /// Wraps a socket, blocking or not.
    ///
    /// # Errors
    ///
    /// The socket is not bound; `Unsupported` on other systems.
    pub fn new(socket: net::UdpSocket) -> io::Result<BatchSocket> {
        let [four, six] = FAMILIES;
        let family = if socket.local_addr()?.is_ipv4() { four } else { six };
        Ok(BatchSocket { socket: UdpSocket::from_std(socket), family })
    }
}

/// What the kernel is handed: made once for each thread, since it holds pointers into itself and
/// may not move to another.
struct Headers {
    /// One for each family, since the kernel leaves the length of an address in them, and the
    /// next one may be no longer.
    receiving: [MultiHeaders<SockaddrStorage>; 2],
    sending: MultiHeaders<SockaddrStorage>,
    to: Vec<Option<SockaddrStorage>>,
}

thread_local! {
    static HEADERS: RefCell<Headers> = RefCell::new(Headers {
        receiving: FAMILIES.map(|_| MultiHeaders::preallocate(BATCH, None)),
        sending: MultiHeaders::preallocate(BATCH, None),
        to: Vec::with_capacity(BATCH),
    });
}

impl DatagramSocket for BatchSocket {
    const BATCH: usize = BATCH;

    fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        HEADERS.with(|headers| {
            let headers = &mut headers.borrow_mut().receiving[self.family];
            self.socket.try_io(|| receive(self.socket.as_raw_fd(), headers, inbox))
        })
    }

    fn send(&self, outbox: &Outbox) -> io::Result<usize> {
        HEADERS.with(|headers| {
            let Headers { sending, to, .. } = &mut *headers.borrow_mut();
            self.socket.try_io(|| send(self.socket.as_raw_fd(), sending, to, outbox))
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

fn receive(
    socket: RawFd,
    headers: &mut MultiHeaders<SockaddrStorage>,
    inbox: &mut Inbox,
) -> io::Result<()> {
    let mut received = [None; BATCH];
    {
        let mut buffers = inbox.buffers();
        let mut slices: [_; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let messages = socket::recvmmsg(socket, headers, &mut slices, flags, None)?;
        for (message, received) in messages.zip(&mut received) {
            *received = message.address.and_then(address).map(|from| (message.bytes, from));
        }
    }
    for (length, from) in received.into_iter().map_while(|received| received) {
        inbox.push(length, from);
    }
    Ok(())
}

fn send(
    socket: RawFd,
    headers: &mut MultiHeaders<SockaddrStorage>,
    to: &mut Vec<Option<SockaddrStorage>>,
    outbox: &Outbox,
) -> io::Result<usize> {
    to.clear();
    to.extend(outbox.iter().take(BATCH).map(|(to, _)| Some(to.into())));
    let mut datagrams = outbox.iter();
    let slices: [_; BATCH] = std::array::from_fn(|_| {
        [IoSlice::new(datagrams.next().map_or(&[], |(_, datagram)| datagram))]
    });
    let messages = socket::sendmmsg(socket, headers, &slices, &*to, [], MsgFlags::empty())?;
    Ok(messages.count())
}

/// The address of a peer; a socket for UDP knows no other kinds.
fn address(storage: SockaddrStorage) -> Option<SocketAddr> {
    let four = storage.as_sockaddr_in().map(|&four| four.into());
    four.or_else(|| storage.as_sockaddr_in6().map(|&six| six.into()))
}

impl AsFd for BatchSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl event::Source for BatchSocket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.socket.register(registry, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.socket.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}
