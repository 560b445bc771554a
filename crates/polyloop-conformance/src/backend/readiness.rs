//! Contract 4: what readiness means.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener as Listener, TcpStream as Peer};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use polyloop::{Backend, Interest, Readiness};

use crate::script::SPURIOUS;
use crate::sockets::{
    datagram_pair, drain, finish, pair, pair_with_input, refusing, reset, send, Ended, ANY,
};
use crate::watcher::Watcher;
use crate::Make;

/// Input is readable, and no input is not.
pub fn data_is_readable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    watcher.expect_silence(token, "contract 4: nothing was sent");
    send(&mut peer, b"request");
    let told = watcher.expect(token, Readiness::READABLE);
    assert!(!told.is_error() && !told.is_priority(), "contract 4: plain data is {told:?}");
    assert_eq!(drain(&ours), (b"request".to_vec(), Ended::Not));
    watcher.expect_silence(token, "contract 4: all was read");
    send(&mut peer, b"another");
    watcher.expect(token, Readiness::READABLE);
}

/// A connected stream with room in its send buffer is writable.
pub fn room_is_writable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, _peer) = pair();
    let token = watcher.register(&mut ours, Interest::WRITABLE);
    let told = watcher.expect(token, Readiness::WRITABLE);
    assert_eq!(told, Readiness::WRITABLE, "contract 4: a sound stream, and no input");
}

/// Input on a stream that was asked for room only tells of room. (`Watcher::poll` checks it.)
pub fn input_is_not_told_unasked<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, _peer) = pair_with_input(b"x");
    let token = watcher.register(&mut ours, Interest::WRITABLE);
    assert_eq!(watcher.expect(token, Readiness::WRITABLE), Readiness::WRITABLE);
}

/// A stream whose peer closed it is readable: a read says that the input has ended.
pub fn hangup_is_readable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    drop(peer);
    watcher.expect(token, Readiness::READABLE);
    assert_eq!(drain(&ours).1, Ended::Input, "contract 4: the peer closed in order");
}

/// So is one whose peer closed its sending half; the other half still works.
pub fn half_close_is_readable<B: Backend>(make: Make<B>) {
    use std::io::Read;
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE | Interest::WRITABLE);
    send(&mut peer, b"last");
    finish(&peer);
    watcher.expect(token, Readiness::READABLE | Readiness::WRITABLE);
    assert_eq!(drain(&ours), (b"last".to_vec(), Ended::Input));
    ours.write_all(b"reply").expect("the other half is open");
    let mut reply = [0; 5];
    peer.read_exact(&mut reply).expect("the peer still reads");
    assert_eq!(&reply, b"reply");
}

/// A stream that both sides closed is readable and writable, and its hang-up is hinted at where
/// that is declared.
pub fn a_stream_closed_both_ways_is_hung_up<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE | Interest::WRITABLE);
    finish(&peer);
    ours.shutdown(Shutdown::Write).expect("our half closes");
    let mut ready = Readiness::READABLE | Readiness::WRITABLE;
    if watcher.backend.caps().hangup {
        ready |= Readiness::HANGUP;
    }
    watcher.expect(token, ready);
}

/// The end of the peer's sending half is no room: whoever waits for room only, with a full send
/// buffer, sleeps until the peer has read.
pub fn half_close_is_no_room<B: Backend>(make: Make<B>) {
    /// No kernel moves bytes between two buffers for that long.
    const QUIET: Duration = Duration::from_millis(50);
    /// Backends may look again after ten milliseconds.
    const POLLS: u32 = 2 + SPURIOUS + QUIET.as_millis() as u32 / 10;

    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    finish(&peer);
    let token = watcher.register(&mut ours, Interest::WRITABLE);
    let mut for_nothing = 0;
    loop {
        let mut written = 0;
        while let Ok(count) = ours.write(&[0; 1 << 16]) {
            written += count;
        }
        if written == 0 {
            for_nothing += 1;
            assert!(for_nothing <= SPURIOUS, "contract 4: told of room, and there is none");
        }
        let (began, mut polls, mut told) = (Instant::now(), 0, false);
        while let Some(left) = QUIET.checked_sub(began.elapsed()).filter(|_| !told) {
            told = !watcher.poll(Some(left)).is_empty();
            polls += 1;
        }
        if !told {
            assert!(polls <= POLLS, "contract 3: {polls} polls with nothing to tell: it spins");
            break;
        }
    }
    let reading = thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
    watcher.expect(token, Readiness::WRITABLE);
    drop(ours);
    reading.join().expect("the peer reads to the end").expect("the peer reads to the end");
}

/// A hang-up ends the wait of whoever asked for room only: with a readiness for it, not with an
/// event for nothing, and not with returns for nothing either.
pub fn hangup_is_writable_if_only_that_was_asked<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair();
    drop(peer);
    ours.shutdown(Shutdown::Both).expect("our half closes");
    let token = watcher.register(&mut ours, Interest::WRITABLE);
    watcher.expect(token, Readiness::WRITABLE);
}

/// A stream that the peer reset is readable and writable.
pub fn reset_is_readable_and_writable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE | Interest::WRITABLE);
    watcher.expect(token, Readiness::WRITABLE);
    reset(peer);
    let told = watcher.expect(token, Readiness::READABLE | Readiness::WRITABLE);
    let hints = Readiness::HANGUP | Readiness::ERROR;
    let hinted = told.intersects(hints) || !watcher.backend.caps().hangup;
    assert!(hinted, "contract 4: a reset without a hint: {told:?}");
    assert_ne!(drain(&ours).1, Ended::Not, "contract 4: readable, and a read would block");
}

/// A reset is told to whoever asked for one direction, under that direction.
pub fn reset_is_told_in_the_direction_asked<B: Backend>(make: Make<B>) {
    for interest in [Interest::READABLE, Interest::WRITABLE] {
        let mut watcher = Watcher::new(make);
        let (mut ours, peer) = pair();
        reset(peer);
        let token = watcher.register(&mut ours, interest);
        let hints = Readiness::HANGUP | Readiness::ERROR;
        // There may be room before the reset arrives.
        while !watcher.expect(token, interest.into()).intersects(hints)
            && watcher.backend.caps().hangup
        {}
    }
}

/// A connect that succeeds makes its stream writable, without a hint of an error.
pub fn a_connect_is_writable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let listener = Listener::bind(ANY).expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut ours = TcpStream::connect(address).expect("a connect begins");
    let token = watcher.register(&mut ours, Interest::WRITABLE);
    let told = watcher.expect(token, Readiness::WRITABLE);
    assert!(!told.is_error(), "contract 4: a connect that succeeded is {told:?}");
    ours.peer_addr().expect("it is connected");
}

/// A connect that is refused makes its stream writable, with the hint of an error.
pub fn a_refused_connect_is_writable_with_an_error<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (_kept, address) = refusing();
    let Ok(mut ours) = TcpStream::connect(address) else {
        // Refused before there was anything to watch, which a system may do on loopback.
        return;
    };
    let token = watcher.register(&mut ours, Interest::WRITABLE);
    watcher.expect(token, Readiness::WRITABLE | Readiness::ERROR);
    let error = ours.take_error().expect("a socket can be asked for its error");
    assert!(error.is_some(), "contract 4: an error was hinted at");
}

/// A listener with a connection waiting is readable.
pub fn a_waiting_connection_is_readable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let mut listener = TcpListener::bind(ANY.into()).expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let token = watcher.register(&mut listener, Interest::READABLE);
    watcher.expect_silence(token, "contract 4: nobody connected");
    for _ in 0..2 {
        let _peer = Peer::connect(address).expect("the listener is there");
        watcher.expect(token, Readiness::READABLE);
        listener.accept().expect("a connection waits");
        let nobody = listener.accept().expect_err("the next would block");
        assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
    }
}

/// A datagram is readable, one without a byte too.
pub fn a_datagram_is_readable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = datagram_pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    for datagram in [&b"datagram"[..], b"", b"another"] {
        peer.send(datagram).expect("loopback takes a datagram");
        watcher.expect(token, Readiness::READABLE);
        let mut buffer = [0; 16];
        assert_eq!(ours.recv(&mut buffer).expect("a datagram is there"), datagram.len());
        let none = ours.recv(&mut buffer).expect_err("the next would block");
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}
