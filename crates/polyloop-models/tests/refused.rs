//! What no server could serve with is refused before it listens.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use polyloop::{
    AcceptPolicy, Address, Config, Connection, DatagramProtocol, Protocol, Reply, Trigger,
};
use polyloop_models::{Model, Options};

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

impl DatagramProtocol for Echo {
    fn received(&mut self, _: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
        reply.send(datagram);
    }
}

/// The models that this system has.
fn models() -> impl Iterator<Item = Model> {
    Model::ALL.iter().copied().filter(|model| model.check().is_ok())
}

#[test]
fn limits_within_which_nobody_is_served() {
    let wrong = [
        (Config { max_connections: Some(0), ..Config::default() }, "max_connections"),
        (Config { accept_budget: 0, ..Config::default() }, "accept_budget"),
        (Config { low_water: 2, high_water: 1, ..Config::default() }, "low_water"),
    ];
    for model in models() {
        for (config, named) in &wrong {
            let error = model.bind("127.0.0.1:0", config.clone(), |_| Echo).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{model}: {error}");
            assert!(error.to_string().contains(named), "{model}: {error}");
        }
    }
}

#[test]
fn a_pool_needs_a_thread_for_each_address() {
    let any: Address = "127.0.0.1:0".parse().expect("it is an address");
    let addresses = [any.clone(), any];
    let pool = |threads: usize, limit| {
        let mut options = Options::from(Config { max_connections: limit, ..Config::default() });
        options.threads = NonZeroUsize::new(threads).expect("it is not 0");
        Model::Pool.bind(&addresses[..], options, |_| Echo)
    };
    assert!(pool(2, None).is_ok());
    for (threads, limit) in [(1, None), (8, Some(1))] {
        let error = pool(threads, limit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

/// The standard library would end the process.
#[test]
fn more_threads_or_loops_than_a_process_has_room_for() {
    let mut options = Options::default();
    options.threads = NonZeroUsize::new(Options::MOST_THREADS as usize + 1).unwrap();
    let pool = Model::Pool.bind("127.0.0.1:0", options, |_| Echo).unwrap_err();
    let mut options = Options::default();
    options.loops = NonZeroUsize::new(Options::MOST_LOOPS as usize + 1).unwrap();
    let mio = Model::Mio.bind("127.0.0.1:0", options, |_| Echo).unwrap_err();
    for (error, named) in [(pool, "16001 threads"), (mio, "1025 loops")] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

const FOUR: NonZeroUsize = match NonZeroUsize::new(4) {
    Some(four) => four,
    None => unreachable!(),
};

/// Nobody is to believe that they are served in a way in which they are not.
#[test]
fn options_that_a_model_does_not_know() {
    type Change = fn(&mut Options);

    let looped: &[Model] = &[Model::Epoll, Model::Mio, Model::Uring];
    let cases: [(&str, Change, &[Model]); 5] = [
        ("loops=4", |options| options.loops = FOUR, looped),
        (
            "least-loaded",
            |options| {
                options.loops = FOUR;
                options.accept = AcceptPolicy::LeastLoaded;
            },
            looped,
        ),
        ("edge", |options| options.trigger = Trigger::Edge, &[Model::Epoll]),
        ("unlimited", |options| options.select_unlimited = true, &[Model::Select]),
        ("threads=4", |options| options.threads = FOUR, &[Model::Pool]),
    ];
    for &model in Model::ALL {
        for (setting, change, known_to) in cases {
            let mut options = Options::default();
            change(&mut options);
            let bound = model.bind("127.0.0.1:0", options.clone(), |_| Echo);
            if known_to.contains(&model) {
                assert!(bound.is_ok() || model.check().is_err(), "{model}: {setting}: {bound:?}");
                continue;
            }
            let error = bound.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{model}: {setting}: {error}");
            let text = error.to_string();
            assert!(text.starts_with(&format!("{model} has no setting")), "{setting}: {text}");
            if model.serves_datagrams().is_ok() {
                let error = model.bind_datagram("127.0.0.1:0", options, || Echo).unwrap_err();
                assert_eq!(error.to_string(), text);
            }
        }
    }
}

#[test]
fn options_that_mean_nothing_beside_the_others() {
    let mut batches = Options::default();
    batches.batches = true;
    let mut accept = Options::default();
    accept.accept = AcceptPolicy::LeastLoaded;
    let mut loops = Options::default();
    loops.loops = FOUR;
    for model in models() {
        let stream = |options: &Options| model.bind("127.0.0.1:0", options.clone(), |_| Echo);
        let error = stream(&batches).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{model}: {error}");
        assert!(error.to_string().contains("batches"), "{model}: {error}");
        let error = stream(&accept).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{model}: {error}");
        if !model.has_loops() || model.serves_datagrams().is_err() {
            continue;
        }
        assert!(error.to_string().contains("one loop takes every connection"), "{model}: {error}");
        for (options, kind) in
            [(&accept, ErrorKind::InvalidInput), (&loops, ErrorKind::Unsupported)]
        {
            let bound = model.bind_datagram("127.0.0.1:0", options.clone(), || Echo);
            assert_eq!(bound.unwrap_err().kind(), kind, "{model}");
        }
    }
}
