//! What is rare with queues and buffers of their real sizes: in tests there are four entries in each
//! queue and two buffers of 64 bytes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use polyloop::{Accepted, Address, Config, Connection, Protocol, ServerHandle, Tick, Token};
use rustix::io::Errno;

use super::ring::{Completion, Ring};
use super::UringServer;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this system has rings. Where it has none, there is nothing to test.
fn is_here() -> bool {
    let missing = super::check_uring().err();
    if let Some(missing) = &missing {
        assert_eq!(missing.kind(), io::ErrorKind::Unsupported, "{missing}");
        println!("not run: {missing}");
    }
    missing.is_none()
}

fn ring() -> Ring {
    let mut ring = super::open_ring().expect("a ring");
    ring.enable().expect("the ring is enabled");
    ring
}

fn pairs(count: usize) -> Vec<(UnixStream, UnixStream)> {
    (0..count).map(|_| UnixStream::pair().expect("a pair of sockets")).collect()
}

fn token(index: usize) -> Token {
    Token::new(index, 0)
}

/// Enters the ring until `wanted` answers have come.
fn collect<T>(
    ring: &mut Ring,
    wanted: usize,
    mut take: impl FnMut(&mut Ring, Completion) -> Option<T>,
) -> Vec<T> {
    let deadline = Instant::now() + PATIENCE;
    let mut taken = Vec::new();
    while taken.len() < wanted {
        assert!(Instant::now() < deadline, "{} of {wanted} came", taken.len());
        ring.enter(Some(Duration::from_millis(100))).expect("the ring is entered");
        while let Some(completion) = ring.next() {
            taken.extend(take(ring, completion));
        }
    }
    taken
}

fn received(ring: &mut Ring, completion: Completion) -> Option<(usize, Result<usize, Errno>)> {
    let Completion::Received { token, input, .. } = completion else { return None };
    let length = input.map(|input| {
        let length = input.as_ref().map_or(0, |input| ring.bytes(input).len());
        input.into_iter().for_each(|input| ring.give_back(input));
        length
    });
    Some((token.index(), length))
}

#[test]
fn what_the_submission_queue_cannot_hold_waits() {
    if !is_here() {
        return;
    }
    let (mut ring, mut pairs) = (ring(), pairs(19));
    for (index, (server, _)) in pairs.iter().enumerate() {
        ring.receive(server.as_fd(), token(index));
    }
    assert_eq!(ring.waiting(), 19 - 4);
    ring.enter(Some(Duration::ZERO)).expect("the ring is entered");
    assert_eq!(ring.waiting(), 0);
    for (_, client) in &mut pairs {
        client.write_all(b"x").expect("room for a byte");
    }
    // Two buffers for nineteen: who finds none is told so, and asks again.
    let mut served = vec![0; pairs.len()];
    let mut refused = 0;
    while served.contains(&0) {
        for (index, result) in collect(&mut ring, 1, received) {
            match result {
                Ok(length) => served[index] += length,
                Err(Errno::NOBUFS) => {
                    refused += 1;
                    ring.receive(pairs[index].0.as_fd(), token(index));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(served, [1; 19]);
    assert_ne!(refused, 0, "two buffers were enough for nineteen sockets");
}

#[test]
fn an_alarm_ends_waits_for_what_is_far_away() {
    if !is_here() {
        return;
    }
    const NEAR: Duration = Duration::from_millis(99);
    const FAR: Duration = Duration::from_millis(500);
    let mut ring = ring();
    let began = Tick::now();
    assert_eq!(ring.timeout(began, began.after(NEAR)), Some(NEAR));
    // Set; nothing is to be done for what comes later; set once more for what comes earlier.
    for (after, alarms) in [(PATIENCE, 1), (2 * PATIENCE, 1), (FAR, 2), (FAR, 2)] {
        assert_eq!(ring.timeout(began, began.after(after)), None);
        assert_eq!(ring.outstanding(), alarms);
        ring.enter(Some(Duration::ZERO)).expect("the ring is entered");
        assert!(ring.next().is_none(), "nothing but alarms was set");
    }
    while ring.outstanding() > 1 {
        ring.enter(None).expect("the ring is entered");
        assert!(ring.next().is_none(), "nothing but alarms was set");
    }
    assert!(Tick::now().since(began) >= FAR);
    // It was the one that counted.
    assert_eq!(ring.timeout(began, began.after(PATIENCE)), None);
    assert_eq!(ring.outstanding(), 2);
}

#[test]
fn completions_that_the_queue_cannot_hold_are_not_lost() {
    if !is_here() {
        return;
    }
    let (mut ring, pairs) = (ring(), pairs(19));
    for (index, (server, _)) in pairs.iter().enumerate() {
        ring.receive_at_once(server.as_fd(), token(index));
    }
    ring.enter(Some(Duration::ZERO)).expect("the ring is entered");
    assert!(ring.overflows(), "nineteen completions fit into a queue of four");
    let mut came = collect(&mut ring, pairs.len(), received);
    came.sort_by_key(|(index, _)| *index);
    let nothing = (0..pairs.len()).map(|index| (index, Err(Errno::AGAIN)));
    assert!(came.into_iter().eq(nothing));
    assert!(!ring.overflows());
}

#[test]
fn a_send_tells_at_once_what_was_taken() {
    if !is_here() {
        return;
    }
    let (mut ring, mut pairs) = (ring(), pairs(3));
    pairs[1].0.set_nonblocking(true).expect("it is a socket");
    while pairs[1].0.write(&[0; 4096]).is_ok() {}
    ring.send(pairs[0].0.as_fd(), token(0), &mut b"there is room".to_vec());
    ring.send(pairs[1].0.as_fd(), token(1), &mut b"there is none".to_vec());
    ring.send(pairs[2].0.as_fd(), token(2), &mut vec![0; 16 << 20]);
    ring.enter(Some(Duration::ZERO)).expect("the ring is entered");
    let mut sent = Vec::new();
    while let Some(completion) = ring.next() {
        let Completion::Sent { flight, taken } = completion else { panic!("nothing else goes on") };
        sent.push((ring.passenger(&flight).index(), taken, ring.left(&flight)));
        ring.release(flight);
    }
    assert_eq!(sent[..2], [(0, Ok(13), 0), (1, Err(Errno::AGAIN), 13)]);
    let (token, taken, left) = sent[2];
    assert_eq!(token, 2);
    assert!(left > 0, "a socket has room for 16 MiB");
    assert_eq!(taken, Ok((16 << 20) - left));
}

#[test]
fn a_ring_is_dropped_with_operations_in_flight() {
    if !is_here() {
        return;
    }
    let (mut ring, pairs) = (ring(), pairs(19));
    for (index, (server, _)) in pairs.iter().enumerate() {
        ring.receive(server.as_fd(), token(index));
        ring.send(server.as_fd(), token(index), &mut vec![1; 1 << 20]);
    }
    // The peers read nothing: each send comes back in part, and waits for room with the rest.
    let back = collect(&mut ring, pairs.len(), |_, completion| match completion {
        Completion::Sent { flight, .. } => Some(flight),
        _ => None,
    });
    for flight in back {
        let socket = pairs[ring.passenger(&flight).index()].0.as_fd();
        ring.send_on(socket, flight);
    }
    ring.enter(Some(Duration::ZERO)).expect("the ring is entered");
    // And some that no call has submitted.
    for (index, (server, _)) in pairs.iter().enumerate() {
        ring.send(server.as_fd(), token(index), &mut vec![2; 100]);
    }
    ring.quiesce().expect("all was cancelled");
    assert_eq!(ring.outstanding(), 0);
}

/// Echoes; panics at a `!`.
struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        assert!(!input.contains(&b'!'), "told to panic");
        connection.send(input);
        input.len()
    }
}

struct Running {
    addresses: Vec<SocketAddr>,
    handle: ServerHandle,
    thread: JoinHandle<io::Result<()>>,
}

fn serve(addresses: usize, config: Config) -> Running {
    let address: Address = "127.0.0.1:0".parse().expect("an address");
    let server = UringServer::bind(&vec![address; addresses][..], config, |_: &Accepted<'_>| Echo);
    let server = server.expect("it listens");
    let addresses = server.addresses().iter().map(|address| match address {
        Address::Ip(address) => *address,
        other => panic!("listens on {other}"),
    });
    let (addresses, handle) = (addresses.collect(), server.handle());
    Running { addresses, handle, thread: thread::spawn(|| server.run()) }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream
}

fn ask(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).expect("room");
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert!(answer == message, "not what was sent");
}

#[test]
fn many_connections_are_served_through_tiny_queues() {
    if !is_here() {
        return;
    }
    let server = serve(1, Config::default());
    let mut streams: Vec<_> = (0..40).map(|_| connect(server.addresses[0])).collect();
    for round in 0_u8..5 {
        let message = |index: usize| vec![round ^ index as u8; 1000 + index];
        for (index, stream) in streams.iter_mut().enumerate() {
            // `!` would end it.
            let message: Vec<u8> = message(index).iter().map(|byte| byte | 0x80).collect();
            stream.write_all(&message).expect("room");
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut answer = vec![0; 1000 + index];
            stream.read_exact(&mut answer).expect("an answer");
            assert!(answer.iter().all(|&byte| byte == round ^ index as u8 | 0x80));
        }
    }
    // All at once end with the server.
    server.handle.stop();
    server.thread.join().expect("no panic").expect("no error");
    for stream in &mut streams {
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    }
}

#[test]
fn several_addresses_share_a_limit() {
    if !is_here() {
        return;
    }
    let config = Config { max_connections: Some(1), ..Config::default() };
    let server = serve(3, config);
    for round in 0..3 {
        let mut streams: Vec<_> =
            server.addresses.iter().map(|&address| connect(address)).collect();
        // Only one at a time is served; who that is, the kernel chooses.
        for stream in &mut streams {
            stream.write_all(&[round; 100]).expect("room");
            stream.set_nonblocking(true).expect("it is a socket");
        }
        let deadline = Instant::now() + PATIENCE;
        while !streams.is_empty() {
            assert!(Instant::now() < deadline, "{} are not served", streams.len());
            streams.retain_mut(|stream| stream.read(&mut [0; 200]).is_err());
            thread::yield_now();
        }
    }
    assert_eq!(server.handle.counts().opened, 9);
    server.handle.stop();
    server.thread.join().expect("no panic").expect("no error");
}

#[test]
fn a_panic_ends_a_server_with_operations_in_flight() {
    if !is_here() {
        return;
    }
    let server = serve(1, Config::default());
    let address = server.addresses[0];
    // One who reads nothing, so that much is on its way.
    let mut deaf = connect(address);
    deaf.set_nonblocking(true).expect("it is a socket");
    let filled = Instant::now() + PATIENCE;
    let mut refused = 0;
    while refused < 100 {
        assert!(Instant::now() < filled, "the server takes everything");
        refused = if deaf.write(&[0; 65536]).is_err() { refused + 1 } else { 0 };
        ask(&mut connect(address), b"are you there?");
    }
    let mut idle = connect(address);
    ask(&mut idle, b"hello");
    connect(address).write_all(b"!").expect("room");
    server.thread.join().expect_err("it was told to panic");
    assert_eq!(idle.read(&mut [0]).expect("the end"), 0);
    TcpStream::connect(address).expect_err("nobody listens any more");
}

fn explained(errno: Errno, forbidden: Option<u8>) -> String {
    let error = super::explain(&errno.into(), forbidden);
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    error.to_string()
}

#[test]
fn a_ring_that_cannot_be_had_has_a_reason() {
    assert_eq!(
        explained(Errno::NOSYS, None),
        "uring: this kernel has no io_uring: it needs Linux 6.0 or later"
    );
    assert_eq!(
        explained(Errno::PERM, Some(2)),
        "uring: io_uring is forbidden here: kernel.io_uring_disabled is 2, not 0"
    );
    assert_eq!(
        explained(Errno::PERM, None),
        "uring: io_uring is forbidden here by a seccomp or security policy, as in many \
         containers"
    );
    assert_eq!(
        explained(Errno::INVAL, None),
        "uring: this kernel's io_uring lacks multishot receives: it needs Linux 6.0 or later"
    );
}
