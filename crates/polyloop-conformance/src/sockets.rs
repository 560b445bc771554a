//! Connected sockets on loopback: one end to watch, the other for the scenario.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream as Peer};

use mio::net::{TcpStream, UdpSocket};
use socket2::{Domain, SockRef, Socket, Type};

/// Loopback, and whatever port is free.
pub(crate) const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A connected TCP stream to watch, and its peer, which blocks.
pub(crate) fn pair() -> (TcpStream, Peer) {
    connect().expect("loopback connects")
}

/// As [`pair`], for those who report an error.
pub(crate) fn connect() -> io::Result<(TcpStream, Peer)> {
    connect_through(&TcpListener::bind(ANY)?)
}

/// A pair whose peer was accepted by `listener`, and has its socket options.
pub(crate) fn connect_through(listener: &TcpListener) -> io::Result<(TcpStream, Peer)> {
    let ours = Peer::connect(listener.local_addr()?)?;
    let peer = accept_from(listener, ours.local_addr()?)?;
    peer.set_nodelay(true)?;
    Ok((to_watch(ours)?, peer))
}

/// What `connect` connects, which need not wait for it, and the peer that was accepted.
pub(crate) fn connect_here(connect: impl Fn(SocketAddr) -> TcpStream) -> (TcpStream, Peer) {
    let listener = TcpListener::bind(ANY).expect("a port is free");
    let ours = connect(listener.local_addr().expect("a bound socket has an address"));
    let me = ours.local_addr().expect("a connecting socket has an address");
    (ours, accept_from(&listener, me).expect("the connection is there"))
}

/// Anything on this machine may connect to a listener.
fn accept_from(listener: &TcpListener, me: SocketAddr) -> io::Result<Peer> {
    loop {
        let (peer, from) = listener.accept()?;
        if from == me {
            return Ok(peer);
        }
    }
}

/// `count` pairs, the ends to watch apart from their peers.
pub(crate) fn pairs(count: usize) -> (Vec<TcpStream>, Vec<Peer>) {
    (0..count).map(|_| pair()).unzip()
}

/// A stream of the standard library's as one that can be watched.
pub(crate) fn watchable(stream: Peer) -> TcpStream {
    to_watch(stream).expect("a TCP stream takes the options")
}

fn to_watch(stream: Peer) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

/// A pair with `bytes` there to be read: they have arrived, not just been sent.
pub(crate) fn pair_with_input(bytes: &[u8]) -> (TcpStream, Peer) {
    let listener = TcpListener::bind(ANY).expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut peer = Peer::connect(address).expect("the listener is there");
    peer.set_nodelay(true).expect("a TCP stream takes the option");
    send(&mut peer, bytes);
    let me = peer.local_addr().expect("a connected socket has an address");
    let ours = accept_from(&listener, me).expect("the connection is there");
    // Still blocking: this waits until all of it is there.
    let mut seen = vec![0; bytes.len()];
    while ours.peek(&mut seen).expect("a peek at what was sent") < bytes.len() {}
    (watchable(ours), peer)
}

/// Two UDP sockets that are connected to each other.
pub(crate) fn datagram_pair() -> (UdpSocket, std::net::UdpSocket) {
    connect_datagrams().expect("loopback connects")
}

/// As [`datagram_pair`], for those who report an error.
pub(crate) fn connect_datagrams() -> io::Result<(UdpSocket, std::net::UdpSocket)> {
    let ours = std::net::UdpSocket::bind(ANY)?;
    let peer = std::net::UdpSocket::bind(ANY)?;
    ours.connect(peer.local_addr()?)?;
    peer.connect(ours.local_addr()?)?;
    ours.set_nonblocking(true)?;
    Ok((UdpSocket::from_std(ours), peer))
}

/// An address that refuses connections for as long as the socket is kept: bound, not listening.
pub(crate) fn refusing() -> (Socket, SocketAddr) {
    bound().expect("a port is free")
}

/// As [`refusing`], for those who report an error.
pub(crate) fn bound() -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(ANY).into())?;
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    Ok((socket, address))
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
    abort(peer).expect("a TCP stream takes the option");
}

/// As [`reset`], for those who report an error.
pub(crate) fn abort(peer: Peer) -> io::Result<()> {
    SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO))
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
