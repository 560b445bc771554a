//! What one turn of a loop does at most, of which there would be more to do.

use std::io::Read;
use std::net::TcpStream;
use std::thread;

use polyloop::{Config, Connection, Protocol, Server};

struct Greeting;

impl Protocol for Greeting {
    fn opened(&mut self, connection: &mut Connection<'_>) {
        connection.send(b"!");
    }

    fn received(&mut self, _: &mut Connection<'_>, input: &[u8]) -> usize {
        input.len()
    }
}

#[test]
fn a_turn_accepts_within_its_budget() {
    let config = Config { accept_budget: 1, ..Config::default() };
    let server =
        Server::builder().listen("127.0.0.1:0").config(config).build(|_| Greeting).unwrap();
    let address = server.addresses()[0].clone();
    // They all wait before it looks.
    let mut clients = [(); 10].map(|()| TcpStream::connect(&address).unwrap());
    let handle = server.handle();
    let serving = thread::spawn(|| server.run());
    for client in &mut clients {
        client.read_exact(&mut [0]).unwrap();
    }
    handle.stop();
    serving.join().unwrap().unwrap();
    let counts = handle.counts();
    assert_eq!(counts.opened, 10);
    assert!(counts.accepts <= counts.turns, "{counts:?}");
}

#[cfg(unix)]
mod unix {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use polyloop::Address;

    use super::*;

    /// Uses nothing before it was shown a whole, and has its client send the next byte at each: there
    /// is always something to read, and at a Unix-domain socket no read is too short to go on.
    struct Fed {
        client: UnixStream,
    }

    const WHOLE: usize = 200;

    impl Protocol for Fed {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            if input.len() == WHOLE {
                connection.close();
                return WHOLE;
            }
            self.client.write_all(b"x").unwrap();
            0
        }
    }

    #[test]
    fn a_turn_reads_from_a_connection_a_few_times() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (give, given) = mpsc::channel();
        let server = Server::builder()
            .listen(Address::Unix(path.clone()))
            .build(move |_| Fed { client: given.recv().unwrap() })
            .unwrap();
        let mut client = UnixStream::connect(path).unwrap();
        give.send(client.try_clone().unwrap()).unwrap();
        client.write_all(b"x").unwrap();
        let handle = server.handle();
        let serving = thread::spawn(|| server.run());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        handle.stop();
        serving.join().unwrap().unwrap();
        let counts = handle.counts();
        assert!(counts.reads >= WHOLE as u64, "{counts:?}");
        assert!(counts.reads <= 4 * counts.turns, "{counts:?}");
    }
}
