//! Several loops that serve as one: who gets the connections, the limit that they share, and their
//! common end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use polyloop::{
    AcceptPolicy, Address, Closed, Config, Connection, Counts, Handle, Protocol, ServerHandle,
};
use polyloop_models::{Model, Options};

/// The tests of every model that can have several loops.
macro_rules! test_loops {
    ($($(#[$cfg:meta])* $test:ident)*) => {
        test_loops! { @ mio Model::Mio; $($(#[$cfg])* $test)* }
        test_loops! { @ epoll Model::Epoll; $($(#[$cfg])* $test)* }
        test_loops! { @ uring Model::Uring; $($(#[$cfg])* $test)* }
    };
    (@ $name:ident $model:expr; $($(#[$cfg:meta])* $test:ident)*) => {
        mod $name {
            use polyloop_models::Model;
            $(
                $(#[$cfg])*
                #[test]
                fn $test() {
                    match $model.check() {
                        Ok(()) => super::$test($model),
                        Err(missing) => println!("not run: {missing}"),
                    }
                }
            )*
        }
    };
}

test_loops! {
    in_turn_each_loop_has_its_share
    the_least_loaded_loop_is_the_next_one
    the_limit_is_that_of_all_loops_together
    a_drain_reaches_every_loop_and_loses_nobody
    a_handle_reaches_a_connection_of_another_loop
    a_panic_on_one_loop_ends_all
    a_stop_ends_a_drain_that_the_first_loop_is_done_with
    a_connection_that_arrives_after_the_stop_is_not_opened
    #[cfg(target_os = "linux")]
    loops_on_one_port_serve_all_together
    #[cfg(not(target_os = "linux"))]
    loops_on_one_port_are_refused
}

/// A model that is not among them would be tested by nobody.
#[test]
fn every_model_with_loops_is_tested() {
    let here = include_str!("loops.rs");
    for model in Model::ALL.iter().filter(|model| model.has_loops()) {
        assert!(here.contains(&format!("{{ @ {model} Model::")), "no line for {model}");
    }
}

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        assert_ne!(input, b"panic", "a protocol that panics");
        connection.send(input);
        input.len()
    }
}

fn options(loops: usize, accept: AcceptPolicy) -> Options {
    let mut options = Options::from(Config::default());
    options.loops = NonZeroUsize::new(loops).unwrap();
    options.accept = accept;
    options
}

struct Served {
    address: Address,
    handle: ServerHandle,
    running: JoinHandle<()>,
}

fn serve<P: Protocol + 'static>(
    model: Model,
    options: Options,
    make: impl Fn() -> P + Send + Sync + 'static,
) -> Served {
    let server = model.bind("127.0.0.1:0", options, move |_| make()).unwrap();
    let (address, handle) = (server.addresses()[0].clone(), server.handle());
    Served { address, handle, running: thread::spawn(move || server.run().unwrap()) }
}

impl Served {
    /// A client that has been answered, and so is some loop's.
    fn client(&self) -> TcpStream {
        let mut client = TcpStream::connect(&self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        exchange(&mut client);
        client
    }

    fn opened(&self) -> Vec<u64> {
        self.handle.loops().iter().map(|counts| counts.opened).collect()
    }

    /// Waits until the counts are as they should be; the test fails in the end if they never are.
    fn wait_until(&self, right: impl Fn(&[Counts]) -> bool) {
        let began = Instant::now();
        while !right(&self.handle.loops()) {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", self.handle.loops());
            thread::yield_now();
        }
    }

    fn stop(self) {
        self.handle.stop();
        self.running.join().unwrap();
    }
}

fn exchange(client: &mut TcpStream) {
    client.write_all(b"a request").unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
}

fn in_turn_each_loop_has_its_share(model: Model) {
    let served = serve(model, options(3, AcceptPolicy::RoundRobin), || Echo);
    let clients: Vec<_> = (0..30).map(|_| served.client()).collect();
    assert_eq!(served.opened(), [10, 10, 10]);
    drop(clients);
    served.stop();
}

fn the_least_loaded_loop_is_the_next_one(model: Model) {
    let served = serve(model, options(3, AcceptPolicy::LeastLoaded), || Echo);
    let mut clients: Vec<_> = (0..9).map(|_| served.client()).collect();
    assert_eq!(served.opened(), [3, 3, 3]);
    // The third, sixth and ninth are the last loop's; it is the least loaded when they have gone.
    for index in [8, 5, 2] {
        drop(clients.remove(index));
    }
    served.wait_until(|loops| loops[2].closed == 3);
    clients.extend((0..3).map(|_| served.client()));
    assert_eq!(served.opened(), [3, 3, 6]);
    served.stop();
}

#[cfg(target_os = "linux")]
fn loops_on_one_port_serve_all_together(model: Model) {
    let served = serve(model, options(3, AcceptPolicy::ReusePort), || Echo);
    let clients: Vec<_> = (0..60).map(|_| served.client()).collect();
    let opened = served.opened();
    assert_eq!(opened.iter().sum::<u64>(), 60);
    // The kernel's hash decides; that one of three gets nothing at all has a chance of 1 in 10^10.
    assert!(opened.iter().all(|&opened| opened > 0), "{opened:?}");
    drop(clients);
    served.stop();
}

#[cfg(not(target_os = "linux"))]
fn loops_on_one_port_are_refused(model: Model) {
    let options = options(2, AcceptPolicy::ReusePort);
    let error = model.bind("127.0.0.1:0", options, |_| Echo).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}

fn the_limit_is_that_of_all_loops_together(model: Model) {
    for accept in [AcceptPolicy::RoundRobin, AcceptPolicy::LeastLoaded, AcceptPolicy::ReusePort] {
        if accept == AcceptPolicy::ReusePort && cfg!(not(target_os = "linux")) {
            continue;
        }
        let mut options = options(3, accept);
        options.config.max_connections = Some(4);
        let served = serve(model, options, || Echo);
        let mut first: Vec<_> = (0..4).map(|_| served.client()).collect();
        let mut waiting: Vec<_> =
            (0..8).map(|_| TcpStream::connect(&served.address).unwrap()).collect();
        for client in &mut waiting {
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client.write_all(b"a request").unwrap();
        }
        for _ in 0..20 {
            first.iter_mut().for_each(exchange);
        }
        assert_eq!(served.opened().iter().sum::<u64>(), 4, "{accept:?}");
        // One leaves, one is let in; which one of those that share a port is the kernel's choice.
        drop(first);
        let began = Instant::now();
        while !waiting.is_empty() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{accept:?}: {} still wait",
                waiting.len()
            );
            let Some(index) = waiting.iter().position(is_answered) else { continue };
            let mut client = waiting.remove(index);
            client.read_exact(&mut [0; 9]).unwrap();
            exchange(&mut client);
        }
        served.stop();
    }
}

/// Waits for whichever is answered: looks at one after the other.
fn is_answered(client: &TcpStream) -> bool {
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let answered = client.peek(&mut [0]).is_ok_and(|count| count > 0);
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    answered
}

fn a_drain_reaches_every_loop_and_loses_nobody(model: Model) {
    for _ in 0..20 {
        let served = serve(model, options(3, AcceptPolicy::RoundRobin), || Echo);
        // Whoever is connected has its request answered before the end.
        let mut clients: Vec<_> = (0..9).map(|_| served.client()).collect();
        for client in &mut clients {
            client.write_all(b"a request").unwrap();
        }
        served.handle.drain();
        for mut client in clients {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, b"a request");
        }
        served.running.join().unwrap();
    }
}

/// Tells everybody what anybody says.
struct Member {
    everybody: Arc<Mutex<Vec<Handle>>>,
}

impl Protocol for Member {
    fn opened(&mut self, connection: &mut Connection<'_>) {
        self.everybody.lock().unwrap().push(connection.handle());
    }

    fn received(&mut self, _: &mut Connection<'_>, input: &[u8]) -> usize {
        for member in self.everybody.lock().unwrap().iter() {
            member.send(input);
        }
        input.len()
    }
}

fn a_handle_reaches_a_connection_of_another_loop(model: Model) {
    let everybody = Arc::default();
    let members = Arc::clone(&everybody);
    let served = serve(model, options(3, AcceptPolicy::RoundRobin), move || Member {
        everybody: Arc::clone(&members),
    });
    let mut clients: Vec<_> =
        (0..6).map(|_| TcpStream::connect(&served.address).unwrap()).collect();
    served.wait_until(|loops| loops.iter().all(|counts| counts.opened == 2));
    // Counted when it opens, on the list a moment later.
    while everybody.lock().unwrap().len() < 6 {
        thread::yield_now();
    }
    clients[0].write_all(b"everybody").unwrap();
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut heard = [0; 9];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"everybody");
        client.shutdown(Shutdown::Both).unwrap();
    }
    served.stop();
}

/// Echoes, and takes its time to go.
struct Slow {
    gone: Arc<AtomicUsize>,
}

impl Protocol for Slow {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        Echo.received(connection, input)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // Whoever does not wait for it is found out.
        thread::sleep(Duration::from_millis(20));
        self.gone.fetch_add(1, Ordering::SeqCst);
    }
}

fn a_panic_on_one_loop_ends_all(model: Model) {
    for index in 0..3 {
        let gone = Arc::new(AtomicUsize::new(0));
        let make = {
            let gone = Arc::clone(&gone);
            move || Slow { gone: Arc::clone(&gone) }
        };
        let served = serve(model, options(3, AcceptPolicy::RoundRobin), make);
        let mut clients: Vec<_> = (0..3).map(|_| served.client()).collect();
        clients[index].write_all(b"panic").unwrap();
        let panic = served.running.join().unwrap_err();
        assert_eq!(gone.load(Ordering::SeqCst), 3, "every loop has ended before the panic goes on");
        let text = panic.downcast_ref::<String>().expect("it has a message");
        assert!(text.contains("a protocol that panics"), "{text}");
        for mut client in clients {
            // Closed or reset, but not served any more.
            let asked = client.write_all(b"a request");
            asked.and_then(|()| client.read_exact(&mut [0; 9])).unwrap_err();
        }
    }
}

/// Counts a request in when its last byte, a line feed, has come.
struct Lines;

impl Protocol for Lines {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        let length = input.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        connection.send(&input[..length]);
        length
    }
}

fn a_stop_ends_a_drain_that_the_first_loop_is_done_with(model: Model) {
    let mut options = options(2, AcceptPolicy::RoundRobin);
    options.config.drain = Duration::from_secs(3600);
    let served = serve(model, options, || Lines);
    let mut clients: Vec<_> =
        (0..2).map(|_| TcpStream::connect(&served.address).unwrap()).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.write_all(b"line\nunfi").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
    }
    served.wait_until(|loops| loops.iter().all(|counts| counts.opened == 1));
    served.handle.drain();
    // The first loop's connection finishes, and its loop with it; the second's does not.
    clients[0].write_all(b"nished\n").unwrap();
    let mut answer = Vec::new();
    clients[0].read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"unfinished\n");
    served.stop();
}

/// Holds its loop up from its first input until the test lets it go, and counts its ends.
struct Held {
    held: mpsc::Sender<()>,
    go_on: Option<mpsc::Receiver<()>>,
    closed: Arc<AtomicU64>,
}

impl Protocol for Held {
    fn received(&mut self, _: &mut Connection<'_>, input: &[u8]) -> usize {
        if let Some(go_on) = self.go_on.take() {
            self.held.send(()).unwrap();
            go_on.recv().unwrap();
        }
        input.len()
    }

    fn closed(&mut self, _: Closed) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

fn a_connection_that_arrives_after_the_stop_is_not_opened(model: Model) {
    let (held, is_held) = mpsc::channel();
    let (first_go, first) = mpsc::channel();
    let (second_go, second) = mpsc::channel();
    // The last comes first.
    let gates = Mutex::new(vec![second, first]);
    let (stop, closed) = (Arc::new(OnceLock::<ServerHandle>::new()), Arc::new(AtomicU64::new(0)));
    let (told, ends) = (Arc::clone(&stop), Arc::clone(&closed));
    let served = serve(model, options(2, AcceptPolicy::RoundRobin), move || {
        let go_on = gates.lock().unwrap().pop();
        if go_on.is_none() {
            // The third connection, on the first loop, while the second loop is held up.
            told.get().unwrap().stop();
        }
        Held { held: held.clone(), go_on, closed: Arc::clone(&ends) }
    });
    stop.set(served.handle.clone()).unwrap();
    let mut clients = [(); 2].map(|()| TcpStream::connect(&served.address).unwrap());
    // The second first: the first loop hands it out.
    for client in clients.iter_mut().rev() {
        client.write_all(b"hold").unwrap();
        is_held.recv().unwrap();
    }
    let _more = [(); 2].map(|()| TcpStream::connect(&served.address).unwrap());
    // The first loop opens the third and hands out the fourth, after the stop.
    first_go.send(()).unwrap();
    served.wait_until(|loops| loops[0].closed == loops[0].opened && loops[0].opened == 2);
    second_go.send(()).unwrap();
    let counts = served.handle.clone();
    served.running.join().unwrap();
    let counts = counts.counts();
    assert_eq!(counts.opened, counts.closed);
    assert_eq!(closed.load(Ordering::SeqCst), counts.closed);
}

#[test]
fn a_model_with_one_loop_counts_as_one() {
    let server = Model::Poll.bind("127.0.0.1:0", Config::default(), |_| Echo).unwrap();
    assert_eq!(server.handle().loops().len(), 1);
}
