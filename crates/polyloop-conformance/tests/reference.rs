//! Random sequences of what can be done to a backend, held against a model that fits on a page.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream as Peer};
use std::time::Duration;

use ::mio::net::TcpStream;
use polyloop::{Backend, Events, Interest, MioBackend, Readiness, Token, Trigger};
use polyloop_conformance::{watchdog, Make};
use polyloop_models::BackendKind;
use polyloop_select::{PollBackend, SelectBackend};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const SOURCES: usize = 4;
const CASES: u32 = 100;

#[derive(Clone, Debug)]
enum Step {
    Register(usize, Interest),
    /// Under the same token, or under another one.
    Reregister(usize, Interest, bool),
    Deregister(usize),
    /// The peer sends a byte.
    Arrive(usize),
    /// We read until a read would block.
    Drain(usize),
    Poll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let source = 0..SOURCES;
    let interest = prop_oneof![
        1 => Just(Interest::NONE),
        3 => Just(Interest::READABLE),
        1 => Just(Interest::WRITABLE),
        2 => Just(Interest::READABLE | Interest::WRITABLE),
    ];
    let registered = (source.clone(), interest.clone());
    let reregistered = (source.clone(), interest, any::<bool>());
    let step = prop_oneof![
        3 => registered.prop_map(|(source, asked)| Step::Register(source, asked)),
        2 => reregistered.prop_map(|(source, asked, same)| Step::Reregister(source, asked, same)),
        1 => source.clone().prop_map(Step::Deregister),
        3 => source.clone().prop_map(Step::Arrive),
        2 => source.prop_map(Step::Drain),
        4 => Just(Step::Poll),
    ];
    prop::collection::vec(step, 1..60)
}

/// One source, and what the model knows of it.
struct Source {
    ours: TcpStream,
    peer: Peer,
    unread: usize,
    registration: Option<Registration>,
}

#[derive(Clone, Copy)]
struct Registration {
    token: Token,
    asked: Interest,
    /// On edges: what must be told once it is ready. Registering arms both directions, a read that
    /// would block arms input, being told disarms. That is what all systems have in common.
    armed: Readiness,
}

impl Source {
    fn new() -> Source {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let ours = Peer::connect(address).expect("it listens");
        let (peer, from) = listener.accept().expect("a connection waits");
        assert_eq!(from, ours.local_addr().expect("it is connected"));
        ours.set_nonblocking(true).expect("it can be non-blocking");
        peer.set_nodelay(true).expect("it takes the option");
        Source { ours: TcpStream::from_std(ours), peer, unread: 0, registration: None }
    }

    /// What is ready of what was asked. Nobody fills a send buffer here.
    fn ready(&self) -> Readiness {
        let Some(Registration { asked, .. }) = self.registration else { return Readiness::EMPTY };
        let input = if self.unread > 0 { Readiness::READABLE } else { Readiness::EMPTY };
        (input | Readiness::WRITABLE).masked(asked)
    }

    /// What the next polls must tell.
    fn due(&self, trigger: Trigger) -> Readiness {
        match (trigger, self.registration) {
            (Trigger::Edge, Some(Registration { armed, .. })) => {
                let (input, room) = (Readiness::READABLE, Readiness::WRITABLE);
                let mut due = self.ready();
                for direction in [input, room] {
                    if !armed.contains(direction) {
                        due = due.without(direction);
                    }
                }
                due
            }
            _ => self.ready(),
        }
    }

    fn drain(&mut self) {
        let mut buffer = [0; 64];
        loop {
            match self.ours.read(&mut buffer) {
                Ok(n) => self.unread = self.unread.checked_sub(n).expect("no more than was sent"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    if self.unread == 0 {
                        break;
                    }
                }
            }
        }
        if let Some(registration) = &mut self.registration {
            registration.armed |= Readiness::READABLE;
        }
    }
}

fn agrees_with_the_model<B: Backend>(make: Make<B>) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        let mut backend = make().expect("the backend opens");
        let mut sources: Vec<_> = (0..SOURCES).map(|_| Source::new()).collect();
        for (number, step) in steps.into_iter().enumerate() {
            take(&mut backend, &mut sources, number, step);
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

fn take<B: Backend>(backend: &mut B, sources: &mut [Source], number: usize, step: Step) {
    let armed = Readiness::READABLE | Readiness::WRITABLE;
    // No number comes twice.
    let fresh = Token::new(number, 1);
    match step {
        Step::Register(at, asked) => {
            let source = &mut sources[at];
            let done = backend.register(&mut source.ours, fresh, asked);
            if source.registration.is_some() {
                assert_eq!(done.expect_err("known").kind(), ErrorKind::AlreadyExists);
            } else {
                done.expect("a new source is registered");
                source.registration = Some(Registration { token: fresh, asked, armed });
            }
        }
        Step::Reregister(at, asked, same) => {
            let source = &mut sources[at];
            let former = source.registration.map_or(fresh, |registration| registration.token);
            let token = if same { former } else { fresh };
            let done = backend.reregister(&mut source.ours, token, asked);
            if source.registration.is_some() {
                done.expect("a known source is reregistered");
                source.registration = Some(Registration { token, asked, armed });
            } else {
                assert_eq!(done.expect_err("unknown").kind(), ErrorKind::NotFound);
            }
        }
        Step::Deregister(at) => {
            let source = &mut sources[at];
            let done = backend.deregister(&mut source.ours);
            match source.registration.take() {
                Some(_) => done.expect("a known source is deregistered"),
                None => assert_eq!(done.expect_err("unknown").kind(), ErrorKind::NotFound),
            }
        }
        Step::Arrive(at) => {
            sources[at].peer.write_all(b"x").expect("there is room");
            sources[at].unread += 1;
        }
        Step::Drain(at) => sources[at].drain(),
        Step::Poll => poll(backend, sources),
    }
}

/// Polls until all that is due was told; on levels, nothing else may be.
fn poll<B: Backend>(backend: &mut B, sources: &mut [Source]) {
    let trigger = backend.caps().trigger;
    let mut due: Vec<_> = sources.iter().map(|source| source.due(trigger)).collect();
    let mut events = Events::with_capacity(3);
    loop {
        let any = due.iter().any(|due| !due.is_empty());
        let timeout = if any { None } else { Some(Duration::ZERO) };
        backend.poll(&mut events, timeout).expect("poll does not fail");
        for event in events.iter() {
            let told = event.readiness;
            let named = |source: &Source| {
                source.registration.is_some_and(|registration| registration.token == event.token)
            };
            let at = sources.iter().position(named).expect("contract 7: told of a former token");
            let registration = sources[at].registration.as_mut().expect("it has the token");
            assert!(!told.is_empty(), "contract 4: an empty event");
            assert!(
                Readiness::from(registration.asked).contains(told),
                "contract 4: asked for {:?}, told {told:?}",
                registration.asked
            );
            registration.armed = registration.armed.without(told);
            due[at] = due[at].without(told);
            if trigger == Trigger::Level {
                let ready = sources[at].ready();
                assert!(ready.contains(told), "contract 4: {told:?} told, {ready:?} true");
            }
        }
        if !any {
            return;
        }
    }
}

macro_rules! agrees {
    ($backend:ident: $make:expr) => {
        mod $backend {
            use super::*;
            #[test]
            fn agrees_with_the_model() {
                let name = concat!(stringify!($backend), "::agrees_with_the_model");
                watchdog::run(name, || super::agrees_with_the_model($make));
            }
        }
    };
}

agrees!(mio: MioBackend::new);
agrees!(poll: PollBackend::new);
agrees!(select: SelectBackend::new);
agrees!(select_unlimited: SelectBackend::unlimited);
#[cfg(target_os = "linux")]
agrees!(epoll: || polyloop_linux::EpollBackend::new(Trigger::Level));
#[cfg(target_os = "linux")]
agrees!(epoll_edge: || polyloop_linux::EpollBackend::new(Trigger::Edge));

/// A backend without a line above would be tested by nobody.
#[test]
fn every_backend_is_tested() {
    let here = include_str!("reference.rs");
    for backend in BackendKind::ALL {
        let line = format!("agrees!({}: ", backend.name().replace(':', "_"));
        assert!(here.lines().any(|there| there.starts_with(&line)), "no line for {backend}");
    }
}
