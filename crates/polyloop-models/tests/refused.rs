//! What no server could serve with is refused before it listens.

use std::io::ErrorKind;
use std::num::NonZeroUsize;

use polyloop::{Address, Config, Connection, Protocol};
use polyloop_models::{Model, Options};

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
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
