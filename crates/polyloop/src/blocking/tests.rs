use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use super::*;
use crate::{listen, Connection, Handle};

/// What a scenario hears of a connection.
enum News {
    Opened(Handle),
    Closed(Closed),
}

struct Told(Sender<News>);

impl Protocol for Told {
    fn opened(&mut self, connection: &mut Connection<'_>) {
        self.0.send(News::Opened(connection.handle())).unwrap();
    }

    fn received(&mut self, _: &mut Connection<'_>, input: &[u8]) -> usize {
        input.len()
    }

    fn closed(&mut self, reason: Closed) {
        self.0.send(News::Closed(reason)).unwrap();
    }
}

#[test]
fn slow_readers_start_no_more_threads_than_a_process_has_room_for() {
    // More than the kernel takes of it.
    const MUCH: usize = 12 << 20;
    let (sender, news) = mpsc::channel();
    let mut service = Service::new(Config::default(), move |_: &Accepted<'_>| Told(sender.clone()));
    // For one connection and who writes to it, or for two connections.
    Arc::get_mut(&mut service.shared).unwrap().most_threads = 2;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let open = || {
            let client = TcpStream::connect(address).unwrap();
            let (stream, peer) = listener.accept().unwrap();
            let service = &service;
            scope.spawn(move || service.serve_interruptibly(stream, &peer.into(), drop));
            match news.recv().unwrap() {
                News::Opened(handle) => (client, handle),
                News::Closed(reason) => panic!("{reason}"),
            }
        };
        let (mut first, handle) = open();
        handle.send(vec![1; MUCH]);
        assert_eq!(service.threads(), 2);

        let (second, handle) = open();
        handle.send(vec![2; MUCH]);
        let News::Closed(reason) = news.recv().unwrap() else { panic!("nobody else connects") };
        assert_eq!(reason, Closed::Failed(ErrorKind::OutOfMemory));
        drop(second);

        first.read_exact(&mut vec![0; MUCH]).unwrap();
        drop(first);
        let News::Closed(reason) = news.recv().unwrap() else { panic!("nobody else connects") };
        assert_eq!(reason, Closed::Finished);
    });
    // Who wrote to it has nothing more to do, and may not have ended yet.
    while service.threads() > 0 {
        thread::yield_now();
    }
}

#[test]
fn a_connection_that_nobody_can_serve_leaves_its_place_to_another() {
    let config = Config { max_connections: Some(1), ..Config::default() };
    let (sender, _news) = mpsc::channel();
    let service = Service::new(config, move |_: &Accepted<'_>| Told(sender.clone()));
    let listener = listen(&"127.0.0.1:0".parse().unwrap(), 8).unwrap();
    let entrance = service.entrance(listener).unwrap();
    let accept = || {
        let client = TcpStream::connect(entrance.address()).unwrap();
        let (stream, peer) = service.accept(&entrance).unwrap();
        assert_eq!(service.threads(), 1);
        (client, stream, peer)
    };
    let (_nobodys, stream, _) = accept();
    drop(stream);
    service.give_up("thread", &ErrorKind::OutOfMemory.into());
    // Of a place that is taken for ever, no accept and no drain would see the end.
    assert_eq!(service.threads(), 0);
    let (client, stream, peer) = accept();
    drop(client);
    assert_eq!(service.serve(stream, &peer), Closed::Finished);
    assert_eq!(service.threads(), 0);
    let handle = service.handle();
    handle.drain();
    service.wait_for_end();
    assert_eq!((handle.counts().accepts, handle.counts().opened), (2, 1));
}

#[test]
fn who_is_busy_or_has_input_or_has_just_moved_is_not_idle() {
    const FOR_LONG: Duration = Duration::from_secs(3600);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let member = Member::new(Socket::new(listener.accept().unwrap().0).unwrap());
    let look = |idle| {
        member.look(idle);
        member.phase()
    };
    client.write_all(b"x").unwrap();
    while !member.socket.has_input() {
        thread::yield_now();
    }
    // It is in the middle of something.
    assert_eq!((look(Duration::ZERO), look(Duration::ZERO)), (Phase::Running, Phase::Running));
    // It is about to read what has come.
    member.resting.store(true, Ordering::SeqCst);
    assert_eq!(look(Duration::ZERO), Phase::Running);
    // It has read it, and reads again.
    assert_eq!(member.socket.read(&mut [0; 2]).unwrap(), 1);
    member.counters.reads.add(1);
    assert_eq!(look(Duration::ZERO), Phase::Running);
    assert_eq!(look(FOR_LONG), Phase::Running);
    // A read that ends with nothing moves nothing.
    member.counters.reads.add(1);
    member.counters.would_blocks.add(1);
    assert_eq!(look(Duration::ZERO), Phase::Idle);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_watch_ends_with_its_server() {
    let (sender, news) = mpsc::channel();
    let service = Service::new(Config::default(), move |_: &Accepted<'_>| Told(sender.clone()));
    let listener = listen(&"127.0.0.1:0".parse().unwrap(), 8).unwrap();
    let entrance = service.entrance(listener).unwrap();
    let client = TcpStream::connect(entrance.address()).unwrap();
    let (stream, peer) = service.accept(&entrance).unwrap();
    drop(client);
    service.serve(stream, &peer);
    drop(news);
    service.handle().stop();
    service.wait_for_end();
    let shared = Arc::downgrade(&service.shared);
    drop(service);
    // At once, though its next look would be in some twenty seconds.
    let deadline = Instant::now() + Duration::from_secs(10);
    while shared.strong_count() > 0 {
        assert!(Instant::now() < deadline, "the watch holds on to the server");
        thread::yield_now();
    }
}
