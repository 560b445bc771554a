//! A handler that leaves something behind, and a peer that says no more.
//!
//! Each scenario sends a request, waits until the loop has gone quiet, and sends another: what
//! would be rescued by the next packet of a lively peer shows here.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::TcpStream as Peer;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use polyloop::{Backend, Context, EventLoop, Interest, Readiness, Token};
use socket2::SockRef;

use crate::script::{expect_quiet, new_loop, read, run, turn, would_block, Call};
use crate::sockets::{datagram_pair, finish, pair, reset, send, send_out_of_band, Ended, ANY};
use crate::Make;

/// Two requests with silence between.
const REQUESTS: [&[u8]; 2] = [b"a request", b"another"];

/// One byte a turn gets everything.
pub fn one_byte_a_turn_gets_everything<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    for request in REQUESTS {
        send(&mut peer, request);
        let mut got = Vec::new();
        run(&mut event_loop, |context, call| {
            let Call::Ready(told, _) = call else { return };
            assert_eq!(told, token);
            let mut byte = [0];
            match read(context, token, &ours, &mut byte) {
                Ok(n) => got.extend_from_slice(&byte[..n]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            if got.len() == request.len() {
                context.stop();
            }
        });
        assert_eq!(got, request);
        expect_quiet(&mut event_loop, token, &ours);
    }
}

/// A budget of a few reads a turn gets everything: what is left is reposted.
pub fn a_budget_a_turn_gets_everything<B: Backend>(make: Make<B>) {
    const READS_A_TURN: usize = 3;
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    for round in 1..=2 {
        let request = vec![round; 20_000];
        send(&mut peer, &request);
        let mut got = Vec::new();
        run(&mut event_loop, |context, call| {
            let Call::Ready(..) = call else { return };
            for _ in 0..READS_A_TURN {
                let mut buffer = [0; 512];
                match read(context, token, &ours, &mut buffer) {
                    Ok(n) => got.extend_from_slice(&buffer[..n]),
                    Err(_) => break,
                }
            }
            if got.len() == request.len() {
                context.stop();
            }
        });
        assert_eq!(got, request);
        expect_quiet(&mut event_loop, token, &ours);
    }
}

/// A handler that stops at a short read, as far as the loop lets it, and collects what it got.
struct ShortReader {
    stream: TcpStream,
    token: Token,
    got: Vec<u8>,
    ended: Ended,
}

impl ShortReader {
    fn new<B: Backend>(event_loop: &mut EventLoop<B, ()>, mut stream: TcpStream) -> ShortReader {
        let token = event_loop.context().register(&mut stream, Interest::READABLE).expect("new");
        ShortReader { stream, token, got: Vec::new(), ended: Ended::Not }
    }

    /// `after_read` runs between each read and what the loop is told of it.
    fn read<B: Backend>(&mut self, context: &mut Context<B>, mut after_read: impl FnMut()) {
        let mut buffer = [0; 64];
        while self.ended == Ended::Not {
            let done = read(context, self.token, &self.stream, &mut buffer);
            after_read();
            match done {
                Ok(0) => self.ended = Ended::Input,
                Ok(n) => {
                    self.got.extend_from_slice(&buffer[..n]);
                    if n < buffer.len() && context.short_read(self.token) {
                        return;
                    }
                }
                Err(_) if would_block(&done) => return,
                Err(error) => self.ended = Ended::Failed(error.kind()),
            }
        }
    }

    /// Turns until `enough`.
    fn run<B: Backend>(
        &mut self,
        event_loop: &mut EventLoop<B, ()>,
        mut after_read: impl FnMut(),
        enough: impl Fn(&ShortReader) -> bool,
    ) {
        run(event_loop, |context, call| {
            if let Call::Ready(token, _) = call {
                assert_eq!(token, self.token);
                self.read(context, &mut after_read);
            }
            if enough(self) {
                context.stop();
            }
        });
    }

    /// Turns until `bytes` have come.
    fn expect<B: Backend>(&mut self, event_loop: &mut EventLoop<B, ()>, bytes: &[u8]) {
        self.run(event_loop, || {}, |reader| reader.got.len() >= bytes.len());
        assert_eq!(std::mem::take(&mut self.got), bytes);
    }
}

/// A read that filled less than its buffer ends a turn's reading, and loses nothing.
pub fn a_short_read_loses_nothing<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (ours, mut peer) = pair();
    let mut reader = ShortReader::new(&mut event_loop, ours);
    for request in REQUESTS {
        send(&mut peer, request);
        reader.expect(&mut event_loop, request);
        expect_quiet(&mut event_loop, reader.token, &reader.stream);
    }
    finish(&peer);
    reader.run(&mut event_loop, || {}, |reader| reader.ended != Ended::Not);
    assert_eq!(reader.ended, Ended::Input);
}

/// An out-of-band byte between two writes ends a read short, with data behind it.
pub fn an_out_of_band_byte_between_two_writes<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (ours, mut peer) = pair();
    let mut reader = ShortReader::new(&mut event_loop, ours);
    for _ in 0..2 {
        send(&mut peer, b"abc");
        send_out_of_band(&peer, b'!');
        send(&mut peer, b"def");
        reader.expect(&mut event_loop, b"abcdef");
        expect_quiet(&mut event_loop, reader.token, &reader.stream);
    }
}

/// The same, when the byte and what follows it come while the handler reads what was before.
pub fn an_out_of_band_byte_during_a_read<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (ours, mut peer) = pair();
    let mut reader = ShortReader::new(&mut event_loop, ours);
    for _ in 0..2 {
        send(&mut peer, b"abc");
        let mut sent = false;
        reader.run(
            &mut event_loop,
            || {
                if !std::mem::replace(&mut sent, true) {
                    send_out_of_band(&peer, b'!');
                    send(&mut peer, b"def");
                }
            },
            |reader| reader.got.len() >= 6,
        );
        assert_eq!(std::mem::take(&mut reader.got), b"abcdef");
        expect_quiet(&mut event_loop, reader.token, &reader.stream);
    }
}

/// An out-of-band byte by itself, and then plain data.
pub fn an_out_of_band_byte_before_data<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (ours, mut peer) = pair();
    let mut reader = ShortReader::new(&mut event_loop, ours);
    send_out_of_band(&peer, b'!');
    expect_quiet(&mut event_loop, reader.token, &reader.stream);
    for request in REQUESTS {
        send(&mut peer, request);
        reader.expect(&mut event_loop, request);
        expect_quiet(&mut event_loop, reader.token, &reader.stream);
    }
}

/// An out-of-band byte that was read is told no more, and the next one is: no call says
/// `WouldBlock` of it.
pub fn an_out_of_band_byte_is_used_up<B: Backend>(make: Make<B>) {
    if !make().expect("a backend").caps().priority {
        return;
    }
    let mut event_loop = new_loop(make);
    let (mut ours, peer) = pair();
    let wanted = Interest::READABLE | Interest::PRIORITY;
    let token = event_loop.context().register(&mut ours, wanted).expect("new");
    for byte in [b'!', b'?'] {
        send_out_of_band(&peer, byte);
        run(&mut event_loop, |context, call| {
            let Call::Ready(_, told) = call else { return };
            if told.is_priority() {
                let mut urgent = [MaybeUninit::new(0)];
                let socket = SockRef::from(&ours);
                let read = context.read(token, || socket.recv_out_of_band(&mut urgent));
                assert_eq!(read.expect("it was told"), 1);
                context.clear_ready(token, Readiness::PRIORITY);
                context.stop();
            }
            // After that, for a read goes past the byte, and it is lost.
            if told.is_readable() {
                let found = read(context, token, &ours, &mut [0; 16]);
                assert!(would_block(&found), "nothing but the byte was sent: {found:?}");
            }
        });
        expect_quiet(&mut event_loop, token, &ours);
    }
}

/// Data and the end of input in one event: both are found, by a handler that reads short.
pub fn data_and_the_end_in_one_event<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (ours, mut peer) = pair();
    let mut reader = ShortReader::new(&mut event_loop, ours);
    send(&mut peer, b"last words");
    finish(&peer);
    reader.run(&mut event_loop, || {}, |reader| reader.ended != Ended::Not);
    assert_eq!((&reader.got[..], reader.ended), (&b"last words"[..], Ended::Input));
}

/// The end of input comes while the handler reads the data before it.
pub fn the_end_during_a_read<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (ours, mut peer) = pair();
    let mut reader = ShortReader::new(&mut event_loop, ours);
    send(&mut peer, b"last words");
    let mut finished = false;
    let after_read = || {
        if !std::mem::replace(&mut finished, true) {
            finish(&peer);
        }
    };
    reader.run(&mut event_loop, after_read, |reader| reader.ended != Ended::Not);
    assert_eq!((&reader.got[..], reader.ended), (&b"last words"[..], Ended::Input));
}

/// Data and a reset in one event: the end is found. (Whether the data is, systems decide.)
pub fn data_and_a_reset_in_one_event<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (ours, mut peer) = pair();
    let mut reader = ShortReader::new(&mut event_loop, ours);
    send(&mut peer, b"last words");
    reset(peer);
    reader.run(&mut event_loop, || {}, |reader| reader.ended != Ended::Not);
    assert!(b"last words".starts_with(&reader.got), "never sent: {:?}", reader.got);
}

/// The reset comes while the handler reads the data before it.
pub fn a_reset_during_a_read<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (ours, mut peer) = pair();
    let mut reader = ShortReader::new(&mut event_loop, ours);
    send(&mut peer, b"last words");
    let mut peer = Some(peer);
    let after_read = || {
        if let Some(peer) = peer.take() {
            reset(peer);
        }
    };
    reader.run(&mut event_loop, after_read, |reader| reader.ended != Ended::Not);
    assert_eq!(reader.got, b"last words");
}

/// One accept a turn gets every connection, though no further one comes.
pub fn one_accept_a_turn_gets_everybody<B: Backend>(make: Make<B>) {
    const CONNECTIONS: usize = 5;
    let mut event_loop = new_loop(make);
    let mut listener = TcpListener::bind(ANY.into()).expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    event_loop.context().register(&mut listener, Interest::READABLE).expect("new");
    for _ in 0..2 {
        let peers: Vec<_> =
            (0..CONNECTIONS).map(|_| Peer::connect(address).expect("it listens")).collect();
        let mut accepted = Vec::new();
        run(&mut event_loop, |context, call| {
            let Call::Ready(token, readiness) = call else { return };
            assert!(readiness.is_readable());
            match context.accept(token, || listener.accept()) {
                Ok((stream, _)) => accepted.push(stream),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            if accepted.len() == CONNECTIONS {
                context.stop();
            }
        });
        drop(peers);
    }
}

/// One datagram a turn gets all of them.
pub fn one_datagram_a_turn_gets_all<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, peer) = datagram_pair();
    event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    for _ in 0..2 {
        for number in 0..5 {
            peer.send(&[number]).expect("loopback takes a datagram");
        }
        let mut got = Vec::new();
        run(&mut event_loop, |context, call| {
            let Call::Ready(token, _) = call else { return };
            let mut byte = [0];
            if context.read(token, || ours.recv(&mut byte)).is_ok() {
                got.push(byte[0]);
            }
            if got.len() == 5 {
                context.stop();
            }
        });
        assert_eq!(got, [0, 1, 2, 3, 4]);
    }
}

/// A datagram socket outlives an error: what was refused is reported once, and later datagrams come.
pub fn a_datagram_comes_after_a_refused_one<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, peer) = datagram_pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    let (us, them) = (ours.local_addr().expect("bound"), peer.local_addr().expect("bound"));
    drop(peer);
    if cfg!(not(windows)) {
        // Under Wine, AFD tells nothing more of a socket of which a datagram found nobody, and no
        // call fails.
        ours.send(b"to nobody").expect("loopback takes a datagram");
    }
    // On the systems that report it, the refusal has come; nobody else asks for the port that was
    // given out last, and if somebody does there is nothing to see here.
    let drain = |context: &mut Context<B>, ours: &mut mio::net::UdpSocket| {
        let mut buffer = [0; 16];
        loop {
            match context.read(token, || ours.recv(&mut buffer)) {
                Ok(n) => return Some(buffer[..n].to_vec()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return None,
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {}
                    _ => panic!("neither a refusal nor WouldBlock: {error}"),
                },
            }
        }
    };
    turn(&mut event_loop, Some(Duration::from_millis(2)), |context, call| {
        if let Call::Ready(..) = call {
            assert_eq!(drain(context, &mut ours), None, "nobody sent anything");
        }
    });
    let Ok(peer) = std::net::UdpSocket::bind(them) else { return };
    peer.send_to(b"somebody", us).expect("loopback takes a datagram");
    run(&mut event_loop, |context, call| {
        let Call::Ready(..) = call else { return };
        if let Some(datagram) = drain(context, &mut ours) {
            assert_eq!(datagram, b"somebody");
            context.stop();
        }
    });
}

/// What a handler holds in a buffer of its own is dispatched by `repost`, if it is wanted.
pub fn a_repost_dispatches_what_no_backend_sees<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, _peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    event_loop.context().repost(token, Readiness::READABLE);
    run(&mut event_loop, |context, call| {
        if let Call::Ready(told, readiness) = call {
            assert_eq!((told, readiness), (token, Readiness::READABLE));
            context.stop();
        }
    });
    expect_quiet(&mut event_loop, token, &ours);
    // Nobody asked for room.
    event_loop.context().repost(token, Readiness::WRITABLE);
    expect_quiet(&mut event_loop, token, &ours);
}

/// A stream that an interrupted read was tried on is read again at once: no handler sees it.
pub fn an_interrupted_call_is_repeated<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    send(&mut peer, b"x");
    run(&mut event_loop, |context, call| {
        let Call::Ready(..) = call else { return };
        let mut interruptions = 2;
        let done = context.read(token, || {
            if interruptions > 0 {
                interruptions -= 1;
                return Err(io::ErrorKind::Interrupted.into());
            }
            (&ours).read(&mut [0; 16])
        });
        assert_eq!((done.expect("data is there"), interruptions), (1, 0));
        context.stop();
    });
}
