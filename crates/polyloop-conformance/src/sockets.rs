//! Connected sockets on loopback: one end to watch, the other for the scenario.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream as Peer};

use mio::net::{TcpStream, UdpSocket};
use socket2::{Domain, SockRef, Socket, Type};

/// Loopback, and whatever port is free.
pub(crate) const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A connected TCP stream to watch, and its peer, which blocks.
pub(crate) fn pair() -> (TcpStream, Peer) {
    let listener = TcpListener::bind(ANY).expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let ours = Peer::connect(address).expect("the listener is there");
    let me = ours.local_addr().expect("a connected socket has an address");
    let peer = loop {
        let (peer, from) = listener.accept().expect("the connection is there");
        // Anything on this machine may connect to a listener.
        if from == me {
            break peer;
        }
    };
    peer.set_nodelay(true).expect("a TCP stream takes the option");
    (watchable(ours), peer)
}

/// `count` pairs, the ends to watch apart from their peers.
pub(crate) fn pairs(count: usize) -> (Vec<TcpStream>, Vec<Peer>) {
    (0..count).map(|_| pair()).unzip()
}

/// A stream of the standard library's as one that can be watched.
pub(crate) fn watchable(stream: Peer) -> TcpStream {
    stream.set_nodelay(true).expect("a TCP stream takes the option");
    stream.set_nonblocking(true).expect("a stream can be made non-blocking");
    TcpStream::from_std(stream)
}

/// A pair with `bytes` there to be read: they have arrived, not just been sent.
pub(crate) fn pair_with_input(bytes: &[u8]) -> (TcpStream, Peer) {
    let listener = TcpListener::bind(ANY).expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut peer = Peer::connect(address).expect("the listener is there");
    peer.set_nodelay(true).expect("a TCP stream takes the option");
    send(&mut peer, bytes);
    let me = peer.local_addr().expect("a connected socket has an address");
    let ours = loop {
        let (ours, from) = listener.accept().expect("the connection is there");
        if from == me {
            break ours;
        }
    };
    // Still blocking: this waits until all of it is there.
    let mut seen = vec![0; bytes.len()];
    while ours.peek(&mut seen).expect("a peek at what was sent") < bytes.len() {}
    (watchable(ours), peer)
}

/// Two UDP sockets that are connected to each other.
pub(crate) fn datagram_pair() -> (UdpSocket, std::net::UdpSocket) {
    let ours = std::net::UdpSocket::bind(ANY).expect("a port is free");
    let peer = std::net::UdpSocket::bind(ANY).expect("a port is free");
    let address = |socket: &std::net::UdpSocket| socket.local_addr().expect("it is bound");
    ours.connect(address(&peer)).expect("the peer is bound");
    peer.connect(address(&ours)).expect("the peer is bound");
    ours.set_nonblocking(true).expect("a socket can be made non-blocking");
    (UdpSocket::from_std(ours), peer)
}

/// An address that refuses connections for as long as the socket is kept: bound, not listening.
pub(crate) fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(ANY).into()).expect("a port is free");
    let address = socket.local_addr().expect("a bound socket has an address");
    (socket, address.as_socket().expect("an IP address"))
}

/// Writes all of `bytes`, which are few enough for the kernel to take.
pub(crate) fn send(peer: &mut Peer, bytes: &[u8]) {
    peer.write_all(bytes).expect("the peer writes");
}

/// Sends one byte out of band.
pub(crate) fn send_out_of_band(peer: &Peer, byte: u8) {
    let sent = SockRef::from(peer).send_out_of_band(&[byte]).expect("the peer sends");
    assert_eq!(sent, 1);
}

/// Closes the sending half.
pub(crate) fn finish(peer: &Peer) {
    peer.shutdown(Shutdown::Write).expect("the peer shuts down");
}

/// Closes with a reset.
pub(crate) fn reset(peer: Peer) {
    let at_once = Some(std::time::Duration::ZERO);
    SockRef::from(&peer).set_linger(at_once).expect("a TCP stream takes the option");
    drop(peer);
}

/// Reads whatever there is, until a read would block or the input ends; says which.
pub(crate) fn drain(mut stream: &TcpStream) -> (Vec<u8>, Ended) {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (all, Ended::Input),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (all, Ended::Not),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (all, Ended::Failed(error.kind())),
        }
    }
}

/// How reading a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It would block: there may be more later.
    Not,
    /// End of input.
    Input,
    /// An error.
    Failed(io::ErrorKind),
}
