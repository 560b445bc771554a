use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::sync::mpsc::{self, Sender};

use super::*;
use crate::{Connection, Handle};

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
    let mut service = Service::new(Config::default(), move |_: &Peer| Told(sender.clone()));
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
