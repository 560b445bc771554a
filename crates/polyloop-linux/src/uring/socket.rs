//! The socket of a connection, and who is at its other end.

use std::cell::OnceCell;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use nix::sys::socket::{getsockopt, SockaddrIn, SockaddrIn6};
use nix::{getsockopt_impl, libc, sockopt_impl};
use polyloop::{Counters, Peer};

/// The socket of a connection. A kernel that accepts again and again has nowhere to write who the
/// peer is: it is asked when somebody wants to know.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    peer: OnceCell<Peer>,
}

impl Socket {
    /// Of TCP.
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket { stream, peer: OnceCell::new() }
    }

    pub(super) fn with_peer(stream: TcpStream, peer: Peer) -> Socket {
        Socket { stream, peer: peer.into() }
    }

    pub(super) fn into_parts(self, counters: &Counters) -> (TcpStream, Peer) {
        let peer = self.peer(counters).clone();
        (self.stream, peer)
    }

    pub(super) fn peer(&self, counters: &Counters) -> &Peer {
        self.peer.get_or_init(|| {
            counters.other_calls.add(1);
            // It has one, unless a policy forbids to ask.
            let unknown = || SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            ask(&self.stream).unwrap_or_else(unknown).into()
        })
    }
}

sockopt_impl!(
    /// As `getpeername`, which does not tell of a connection that was reset.
    PeerName,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_PEERNAME,
    libc::sockaddr_in
);

sockopt_impl!(
    /// The whole of a longer one.
    PeerName6,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_PEERNAME,
    libc::sockaddr_in6
);

fn ask(stream: &TcpStream) -> Option<SocketAddr> {
    let name = getsockopt(stream, PeerName).ok()?;
    if i32::from(name.sin_family) == libc::AF_INET {
        return Some(SockaddrIn::from(name).into());
    }
    Some(SockaddrIn6::from(getsockopt(stream, PeerName6).ok()?).into())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_peer_is_known_even_when_it_has_reset_the_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let peer = Peer::from(client.local_addr().unwrap());
            let (stream, _) = listener.accept().unwrap();
            let counters = Counters::default();
            let asked_early = Socket::new(stream.try_clone().unwrap());
            let asked_late = Socket::new(stream);
            assert_eq!(asked_early.peer(&counters), &peer);

            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
            drop(client);
            let mut stream = &asked_late.stream;
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            for socket in [&asked_early, &asked_late] {
                assert_eq!(socket.peer(&counters), &peer);
            }
            assert_eq!(counters.snapshot().other_calls, 2, "asked once each");
        }
    }
}
