//! Tells everybody who connects the time that passes, a line a second, until they leave or it ends.
//! Two loops serve; Ctrl-C closes the listener, lets what is under way finish, and says how many came:
//!
//!     cargo run --release --example ticker
//!     nc 127.0.0.1 7000

use std::time::Duration;

use polyloop::{AcceptPolicy, Config, Connection, MioBackend, Protocol, Server, TimerId};

const TICK: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Ticker {
    seconds: u32,
}

impl Protocol for Ticker {
    fn opened(&mut self, connection: &mut Connection<'_>) {
        connection.set_timer(TICK);
    }

    fn received(&mut self, _: &mut Connection<'_>, input: &[u8]) -> usize {
        input.len()
    }

    fn timer(&mut self, connection: &mut Connection<'_>, _: TimerId) {
        self.seconds += 1;
        connection.send(format!("{} s\n", self.seconds).as_bytes());
        connection.set_timer(TICK);
    }
}

fn main() -> anyhow::Result<()> {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let config = Config {
        max_connections: Some(1000),
        // A peer that never reads is closed once so much waits for it.
        max_output: 64 * 1024,
        drain: Duration::from_secs(5),
        ..Config::default()
    };
    let server = Server::builder().listen(address).config(config).build_loops(
        2,
        AcceptPolicy::LeastLoaded,
        MioBackend::new,
        |_| Ticker::default(),
    )?;
    println!("listening on {}", server.addresses()[0]);
    let handle = server.handle();
    let drained = handle.clone();
    ctrlc::set_handler(move || drained.drain())?;
    server.run()?;
    println!("{} came, {} by loop", handle.counts().opened, by_loop(&handle.loops()));
    Ok(())
}

fn by_loop(loops: &[polyloop::Counts]) -> String {
    let opened: Vec<_> = loops.iter().map(|counts| counts.opened.to_string()).collect();
    opened.join(" and ")
}
