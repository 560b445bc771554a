//! Contract 8 and 9: how many can be watched, and what a change costs among many. In a process of
//! its own, since so many descriptors are the process's.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use polyloop::{Backend, Interest, Readiness, Token};
use socket2::{Domain, Socket, Type};

use crate::child::{in_a_process_of_its_own, make_room_for_descriptors};
use crate::sockets::ANY;
use crate::watcher::Watcher;
use crate::Make;

/// As many sources fit as the limit says, if one is declared. The first past it is refused with an
/// error that says the limit and who can watch more, and fits when another one is gone.
///
/// What counts is the largest descriptor, on Windows the number of sockets: this holds for both.
pub fn as_many_fit_as_declared<B: Backend>(make: Make<B>) {
    in_a_process_of_its_own(|| fill(make));
}

fn fill<B: Backend>(make: Make<B>) {
    /// More than fit into the smallest set that there is, which is that of Windows.
    const MANY: usize = 100;
    /// What a process has open besides; on Windows, of all that the waker alone counts.
    const OTHERS: usize = if cfg!(windows) { 1 } else { 50 };
    let mut watcher = Watcher::new(make);
    let limit = watcher.backend.caps().limit;
    let most = limit.unwrap_or(MANY);
    make_room_for_descriptors(most + 50);
    let mut sources = Vec::new();
    let refused = loop {
        let mut source = bound();
        let token = watcher.token();
        match watcher.backend.register(&mut source, token, Interest::READABLE) {
            Ok(()) => sources.push((token, source)),
            Err(error) => break Some((error, source)),
        }
        if sources.len() == most {
            break None;
        }
    };
    let Some(limit) = limit else {
        if let Some((error, _)) = refused {
            panic!("caps: after {} another is refused, and no limit declared: {error}", most);
        }
        return;
    };
    let (error, mut next) = refused.expect("caps: more fit than is declared");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "contract 8: {error}");
    let message = error.to_string();
    let says = |what: &str| message.contains(what);
    assert!(
        says(watcher.backend.name()) && says(&limit.to_string()) && says("poll"),
        "contract 8: says not who refuses, the limit, and who can: {message}"
    );
    assert!(sources.len() + OTHERS >= limit, "caps: {} fit, of {limit}", sources.len());
    let unknown = watcher.backend.deregister(&mut next).expect_err("it was refused");
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "contract 1: {unknown}");

    // A place becomes free, and on Unix a low number.
    let (_, mut first) = sources.swap_remove(0);
    watcher.backend.deregister(&mut first).expect("a known source is deregistered");
    drop(first);
    drop(next);
    let mut next = bound();
    let token = watcher.register(&mut next, Interest::READABLE);
    let to_itself = next.local_addr().expect("it is bound");
    next.send_to(b"x", to_itself).expect("there is room");
    watcher.expect(token, Readiness::READABLE);
}

/// To register, to reregister and to deregister a source costs no more among thousands of others
/// than among a few.
pub fn changes_cost_the_same_among_many<B: Backend>(make: Make<B>) {
    in_a_process_of_its_own(|| compare_changes(make));
}

fn compare_changes<B: Backend>(make: Make<B>) {
    const FEW: usize = 100;
    const MANY: usize = if cfg!(windows) { 1_000 } else { 8_000 };
    /// How much more is too much: caches and the kernel's trees take a part of it. Who looks at
    /// every source takes more than ten times as long. Who only closes a gap in memory does not
    /// beside a system call, and is not found out.
    const TIMES: u32 = 4;
    /// A machine may be busy at the wrong moments.
    const TRIES: usize = 10;
    const OTHERS: usize = 50;
    let limit = make().expect("the backend opens").caps().limit.unwrap_or(usize::MAX);
    let many = make_room_for_descriptors(MANY + OTHERS).min(limit).saturating_sub(OTHERS).min(MANY);
    if many < 8 * FEW {
        // On Windows select has room for 64, which are few.
        return;
    }
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let (few, many) = (cost_of_changes(make, FEW), cost_of_changes(make, many));
        if many < few * TIMES {
            return;
        }
        found.push((few, many));
    }
    panic!("contract 9: what a change costs among {FEW} and among {many}: {found:?}");
}

/// How long it takes to change a few of so many, at the best.
fn cost_of_changes<B: Backend>(make: Make<B>, watched: usize) -> Duration {
    const A_FEW: usize = 20;
    const BATCHES: usize = 50;
    let mut backend = make().expect("the backend opens");
    let mut sources: Vec<_> = (0..watched).map(|_| unused()).collect();
    for (number, source) in sources.iter_mut().enumerate() {
        let token = Token::new(number, 7);
        backend.register(source, token, Interest::READABLE).expect("a new source is registered");
    }
    // From all over the set, so that it matters if they stand in a row, wherever one looks first.
    let batch = |number| {
        let start = Instant::now();
        for part in 0..A_FEW {
            let at = (part * watched / A_FEW + number) % watched;
            let (source, token) = (&mut sources[at], Token::new(at, 7));
            backend.reregister(source, token, Interest::WRITABLE).expect("it is known");
            backend.deregister(source).expect("it is known");
            backend.register(source, token, Interest::READABLE).expect("it is not known");
        }
        start.elapsed()
    };
    (0..BATCHES).map(batch).min().expect("there are some")
}

/// A datagram socket with a port.
fn bound() -> UdpSocket {
    let socket = std::net::UdpSocket::bind(ANY).expect("a port is free");
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    UdpSocket::from_std(socket)
}

/// A datagram socket that nobody talks to. Where it can be watched so, it has no port: of those
/// there are fewer than scenarios beside this one may want.
fn unused() -> UdpSocket {
    if cfg!(windows) {
        return bound();
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("descriptors are left");
    UdpSocket::from_std(socket.into())
}
