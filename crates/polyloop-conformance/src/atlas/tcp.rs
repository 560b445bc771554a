//! TCP streams and listeners.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as PlainListener, TcpStream as Peer};

use mio::net::{TcpListener, TcpStream};
use rustix::event::PollFlags;
use socket2::{Domain, SockRef, Socket, Type};

use super::scenario::{only, Group, Scenario};
use super::stage::{arrived, delivered, Stage, DATA, END, PRIORITY, REFUSED};
use crate::sockets::{abort, bound, connect, connect_through, ANY};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "empty",
        what: "a stream with nothing to read",
        why: "There is room in the send buffer, so a write would not block; nothing has come, so a \
              read would. That is how a connection spends its life: whoever asks a level-triggered \
              call for writable while there is nothing to write is woken at once, again and again.",
        see: &["tcp(7)", "poll(2)", "POSIX poll"],
        group: Group::Tcp,
        play: Some(empty),
    },
    Scenario {
        name: "data",
        what: "a stream with data to read",
        why: "One byte in the receive buffer makes a stream readable (SO_RCVLOWAT is 1 unless \
              somebody raises it). Readable does not say how much there is: a read takes what \
              there is, and only the one that says EAGAIN says that there is no more.",
        see: &["tcp(7)", "socket(7) on SO_RCVLOWAT", "read(2)"],
        group: Group::Tcp,
        play: Some(data),
    },
    Scenario {
        name: "full",
        what: "a stream whose send buffer is full",
        why: "The peer does not read: first its receive buffer fills, then ours for sending, and \
              then a write says EAGAIN and the stream is silent. It is writable again not with the \
              first free byte but when a third of the buffer is free, so that nobody is woken for \
              crumbs. A write of more than that still comes out short.",
        see: &["tcp(7)", "socket(7) on SO_SNDBUF", "write(2)"],
        group: Group::Tcp,
        play: Some(full),
    },
    Scenario {
        name: "half-close",
        what: "the peer shut down its sending half",
        why: "An end of input is something that a read returns without blocking (zero bytes), so \
              it is told as readable; it lasts, so on a level it is told for ever. RDHUP says it \
              without a read, where a system has it. We may still write: HUP is not told, and the \
              answer to a request that ended with a half-close has to be sent.",
        see: &["shutdown(2)", "epoll_ctl(2) on EPOLLRDHUP", "RFC 9293, 3.6"],
        group: Group::Tcp,
        play: Some(half_close),
    },
    Scenario {
        name: "data-half-close",
        what: "data, then the end of input",
        why: "Data and end have come before anybody looked, and are told as one readiness. A \
              program that takes RDHUP for \"nothing more to read\" and closes loses the data; the \
              end is only where a read returns zero.",
        see: &["epoll_ctl(2) on EPOLLRDHUP", "recv(2)"],
        group: Group::Tcp,
        play: Some(data_half_close),
    },
    Scenario {
        name: "closed",
        what: "the peer closed the connection",
        why: "A close sends the same FIN as a half-close, and that is all we see: whether the peer \
              still reads comes to light only when something is sent to it (write-after-close). \
              HUP is told when both directions are shut, which here we do ourselves.",
        see: &["close(2)", "poll(2) on POLLHUP", "RFC 9293, 3.6"],
        group: Group::Tcp,
        play: Some(closed),
    },
    Scenario {
        name: "reset",
        what: "the peer reset the connection",
        why: "A reset ends both directions at once and leaves an error on the socket. Read and \
              write would not block, so both are told, with every flag that there is. The error \
              (ECONNRESET) is there once: whoever takes it, with a read, a write or SO_ERROR, \
              clears ERR, and from then on the stream is only hung up; on an edge nobody hears of that, \
              and polyloop's loop keeps the hint. select has no word for any \
              of this but readable and writable; its third set is for out-of-band data.",
        see: &["poll(2) on POLLERR", "socket(7) on SO_ERROR", "RFC 9293, 3.5.2"],
        group: Group::Tcp,
        play: Some(reset),
    },
    Scenario {
        name: "data-reset",
        what: "data, then a reset",
        why: "The flags are those of a reset. On Linux what had come before it can still be read, \
              and the error follows after it; other systems throw it away. Nobody should have sent \
              anything that matters before a reset.",
        see: &["tcp(7)", "RFC 9293, 3.10.7.4"],
        group: Group::Tcp,
        play: Some(data_reset),
    },
    Scenario {
        name: "write-after-close",
        what: "a write to a peer that has closed",
        why: "The first write succeeds, since FIN only said that nothing more will come. The peer \
              has nobody to give the data to and answers with a reset, and the next look sees it. \
              After a FIN the error is EPIPE and not ECONNRESET, and a second write raises SIGPIPE \
              in programs that have not switched it off (Rust's have).",
        see: &["write(2) on EPIPE", "signal(7) on SIGPIPE", "RFC 9293, 3.6.1"],
        group: Group::Tcp,
        play: Some(write_after_close),
    },
    Scenario {
        name: "shut-write",
        what: "our own sending half is shut down",
        why: "A write would fail at once (EPIPE), and what does not block is ready: writable stays \
              told, for good. Whoever shuts down a half must stop asking for it.",
        see: &["shutdown(2)", "poll(2)"],
        group: Group::Tcp,
        play: Some(shut_write),
    },
    Scenario {
        name: "shut-read",
        what: "our own receiving half is shut down",
        why: "A read returns zero without blocking, so readable is told, and Linux tells RDHUP as \
              if the peer had ended. Nothing is sent to the peer, who may go on; what it sends is \
              still taken by Linux, and thrown away elsewhere.",
        see: &["shutdown(2)"],
        group: Group::Tcp,
        play: Some(shut_read),
    },
    Scenario {
        name: "shut-both",
        what: "both our halves are shut down",
        why: "Neither direction can ever block again, and that is what HUP means on a stream: both \
              halves are closed. It needs no word from the peer.",
        see: &["shutdown(2)", "poll(2) on POLLHUP"],
        group: Group::Tcp,
        play: Some(shut_both),
    },
    Scenario {
        name: "unconnected",
        what: "a socket that was never connected",
        why: "A new stream socket is in the state CLOSED, as one whose connection is over, and \
              Linux tells both the same: writable, hung up. So registering a socket with epoll \
              before its connect has begun yields an event at once, which is mistaken for a failed \
              connect. Begin the connect, then register.",
        see: &["epoll_ctl(2)", "connect(2)"],
        group: Group::Tcp,
        play: Some(unconnected),
    },
    Scenario {
        name: "connecting",
        what: "a connect that goes on",
        why: "The first packet (SYN) has had no answer; here because the listener's queue is full, \
              and Linux then drops what comes. Until the answer is there, the socket is silent in \
              both directions. The kernel asks again, at first every second (Linux 6.5 and later), \
              then after twice as long each time, for some two minutes: a program sets a shorter \
              deadline itself.",
        see: &["connect(2) on EINPROGRESS", "tcp(7) on tcp_syn_retries", "listen(2)"],
        group: Group::Tcp,
        play: only!(linux: connecting),
    },
    Scenario {
        name: "connected",
        what: "a connect that succeeded",
        why: "The end of a connect is told as writable. It is the same flag as for one that \
              failed; whether it is connected is what SO_ERROR says, or getpeername.",
        see: &["connect(2) on EINPROGRESS", "POSIX connect"],
        group: Group::Tcp,
        play: Some(connected),
    },
    Scenario {
        name: "refused",
        what: "a connect that was refused",
        why: "Nobody listens there, and the answer to the SYN is a reset. It is told as writable, \
              since a connect has ended, and as everything else that a reset is. SO_ERROR has the \
              reason (ECONNREFUSED), once. On Windows select tells a failed connect in its third \
              set alone.",
        see: &["connect(2) on ECONNREFUSED", "POSIX connect", "Winsock select"],
        group: Group::Tcp,
        play: Some(refused),
    },
    Scenario {
        name: "out-of-band",
        what: "an out-of-band byte",
        why: "TCP has a pointer to \"urgent\" data. The byte that it marks is taken out of the stream \
              and waits aside: a plain read would block, so the stream is not readable. PRI (POLLPRI, \
              EPOLLPRI) tells it, and select's third set, which on Linux is for just that. It is \
              read with MSG_OOB. mio calls whatever is PRI readable as well, so a handler on mio \
              is told readable too, and its read says EAGAIN. Use urgent data for nothing new.",
        see: &["tcp(7) on urgent data", "select(2) on exceptfds", "RFC 6093"],
        group: Group::Tcp,
        play: Some(out_of_band),
    },
    Scenario {
        name: "out-of-band-inline",
        what: "the same with SO_OOBINLINE",
        why: "With the option the byte stays where it was in the stream, so the stream is readable \
              as well; PRI tells that there is a mark ahead, and a read stops in front of it.",
        see: &["socket(7) on SO_OOBINLINE", "sockatmark(3)"],
        group: Group::Tcp,
        play: Some(out_of_band_inline),
    },
    Scenario {
        name: "listener",
        what: "a listener, nobody connects",
        why: "A listener is readable when accept would not block. It is never writable: asking for \
              it does no harm and yields nothing.",
        see: &["accept(2)", "listen(2)"],
        group: Group::Tcp,
        play: Some(listener),
    },
    Scenario {
        name: "listener-pending",
        what: "a listener with a connection waiting",
        why: "The kernel has made the connection already, handshake and all; the client may have \
              sent its request by now. accept only takes it off the queue.",
        see: &["accept(2)", "listen(2) on the backlog"],
        group: Group::Tcp,
        play: Some(listener_pending),
    },
    Scenario {
        name: "listener-reset",
        what: "the one who waited reset its connection",
        why: "Linux leaves the dead connection in the queue: accept succeeds and the first read \
              says ECONNRESET. Other systems take it out, and an accept after \"readable\" blocks, \
              unless the listener is non-blocking; POSIX has ECONNABORTED for it. A listener that is \
              watched has to be non-blocking.",
        see: &["accept(2)", "POSIX accept on ECONNABORTED", "Stevens, UNIX Network Programming, 16.6"],
        group: Group::Tcp,
        play: only!(linux: listener_reset),
    },
];

fn empty(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, _peer) = connect()?;
    stage.watch(&mut ours);
    stage.now(&ours, "connected, nothing was sent")
}

fn data(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, mut peer) = connect()?;
    stage.watch(&mut ours);
    peer.write_all(b"x")?;
    stage.when(&ours, DATA, "a byte has come")
}

fn full(stage: &mut Stage<'_>) -> io::Result<()> {
    // What is on its way when ours is full, a receive buffer at most, must not be a third of ours.
    let listener = PlainListener::bind(ANY)?;
    SockRef::from(&listener).set_recv_buffer_size(4 << 10)?;
    let (mut ours, mut peer) = connect_through(&listener)?;
    SockRef::from(&ours).set_send_buffer_size(256 << 10)?;
    stage.watch(&mut ours);
    let sent = stage.fill(&ours, |bytes| (&ours).write(bytes))?;
    stage.now(&ours, "a write said EAGAIN")?;
    peer.read_exact(&mut vec![0; sent])?;
    stage.when(&ours, PollFlags::OUT, "the peer has read all of it")
}

fn half_close(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect()?;
    stage.watch(&mut ours);
    peer.shutdown(Shutdown::Write)?;
    stage.when(&ours, END, "the end of input")
}

fn data_half_close(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, mut peer) = connect()?;
    stage.watch(&mut ours);
    peer.write_all(b"last words")?;
    peer.shutdown(Shutdown::Write)?;
    stage.when(&ours, DATA | END, "data and the end")?;
    stage.read_stream(&ours, 64)?;
    stage.now(&ours, "the data was read")
}

fn closed(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect()?;
    stage.watch(&mut ours);
    drop(peer);
    stage.when(&ours, END, "the peer closed")?;
    ours.shutdown(Shutdown::Write)?;
    stage.when(&ours, PollFlags::HUP, "we shut down our half too")
}

fn reset(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect()?;
    stage.watch(&mut ours);
    abort(peer)?;
    stage.when(&ours, PollFlags::HUP, "the reset has come")?;
    ours.take_error()?;
    stage.now(&ours, "its error was taken")
}

fn data_reset(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, mut peer) = connect()?;
    stage.watch(&mut ours);
    peer.write_all(b"x")?;
    arrived(&ours, DATA)?;
    abort(peer)?;
    stage.when(&ours, PollFlags::HUP, "a byte and a reset")
}

fn write_after_close(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect()?;
    stage.watch(&mut ours);
    drop(peer);
    stage.when(&ours, END, "the peer closed")?;
    (&ours).write_all(b"x")?;
    stage.when(&ours, PollFlags::HUP, "we wrote, and got a reset")
}

fn shut(stage: &mut Stage<'_>, half: Shutdown, moment: &'static str) -> io::Result<()> {
    let (mut ours, _peer) = connect()?;
    stage.watch(&mut ours);
    ours.shutdown(half)?;
    stage.now(&ours, moment)
}

fn shut_write(stage: &mut Stage<'_>) -> io::Result<()> {
    shut(stage, Shutdown::Write, "shutdown(SHUT_WR)")
}

fn shut_read(stage: &mut Stage<'_>) -> io::Result<()> {
    shut(stage, Shutdown::Read, "shutdown(SHUT_RD)")
}

fn shut_both(stage: &mut Stage<'_>) -> io::Result<()> {
    shut(stage, Shutdown::Both, "shutdown(SHUT_RDWR)")
}

fn unconnected(stage: &mut Stage<'_>) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let mut ours = TcpStream::from_std(Peer::from(socket));
    stage.watch(&mut ours);
    stage.now(&ours, "no connect was tried")
}

#[cfg(target_os = "linux")]
fn connecting(stage: &mut Stage<'_>) -> io::Result<()> {
    let (listener, address) = bound()?;
    listener.listen(0)?;
    // A backlog of zero has room for one.
    let _first = Peer::connect(address)?;
    delivered()?;
    let mut ours = TcpStream::connect(address)?;
    stage.watch(&mut ours);
    stage.now(&ours, "the first packet unanswered")
}

fn connected(stage: &mut Stage<'_>) -> io::Result<()> {
    let listener = PlainListener::bind(ANY)?;
    let mut ours = TcpStream::connect(listener.local_addr()?)?;
    arrived(&ours, PollFlags::OUT)?;
    stage.watch(&mut ours);
    stage.now(&ours, "the connect has ended well")
}

fn refused(stage: &mut Stage<'_>) -> io::Result<()> {
    let (_kept, address) = bound()?;
    let mut ours = TcpStream::connect(address)?;
    arrived(&ours, REFUSED)?;
    stage.watch(&mut ours);
    stage.now(&ours, "the connect has ended badly")?;
    ours.take_error()?;
    stage.now(&ours, "its error was taken")
}

fn out_of_band(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect()?;
    stage.watch(&mut ours);
    SockRef::from(&peer).send_out_of_band(b"!")?;
    stage.when(&ours, PRIORITY, "the byte has come")
}

fn out_of_band_inline(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut ours, peer) = connect()?;
    SockRef::from(&ours).set_out_of_band_inline(true)?;
    stage.watch(&mut ours);
    SockRef::from(&peer).send_out_of_band(b"!")?;
    stage.when(&ours, PRIORITY, "the byte has come")
}

fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(ANY.into())?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn listener(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut listener, _) = listen()?;
    stage.watch(&mut listener);
    stage.now(&listener, "nobody has connected")
}

fn listener_pending(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut listener, address) = listen()?;
    stage.watch(&mut listener);
    let _peer = Peer::connect(address)?;
    delivered()?;
    stage.when(&listener, DATA, "somebody has connected")
}

#[cfg(target_os = "linux")]
fn listener_reset(stage: &mut Stage<'_>) -> io::Result<()> {
    let (mut listener, address) = listen()?;
    let peer = Peer::connect(address)?;
    abort(peer)?;
    delivered()?;
    stage.watch(&mut listener);
    stage.now(&listener, "gone before it was accepted")
}
