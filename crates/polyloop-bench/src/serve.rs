//! `polyloop serve`: one server on one model.

use anyhow::Context;
use polyloop::{Address, Config, Connection};
use polyloop_models::Variant;

use crate::cli::Usage;
use crate::control::{self, Counters, Listening, SYSTEM_CALLS};
use crate::process;

/// The protocols that can be served.
pub const PROTOCOLS: &[&str] = &["echo"];

/// What shall be served, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How connections are held.
    pub model: Variant,
    /// The name of a protocol, one of [`PROTOCOLS`].
    pub protocol: String,
    /// Where to listen.
    pub listen: Address,
    /// How many connections may wait to be accepted.
    pub backlog: u32,
    /// A parent talks to this server through its standard input and output.
    pub control: bool,
    /// The processor to run on.
    pub pin: Option<usize>,
}

/// Says back what it hears.
struct Echo;

impl polyloop::Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

/// Serves until the process ends.
///
/// # Errors
///
/// An unknown protocol ([`Usage`]), an address that cannot be listened on, or a failure of the
/// server itself.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = Config { backlog: settings.backlog, ..Config::default() };
    let raised_descriptor_limit = prepare(settings.pin)?;
    let (model, options) = (settings.model.model(), settings.model.options(config));
    let server = match settings.protocol.as_str() {
        "echo" => model.bind(&settings.listen, options, |_peer| Echo)?,
        other => {
            let names = PROTOCOLS.join(", ");
            return Err(Usage(format!("there is no protocol {other:?}; there are: {names}")).into());
        }
    };
    let listening = Listening {
        listening: server.addresses()[0].to_string(),
        raised_descriptor_limit,
        pinned: settings.pin,
    };
    let handle = server.handle();
    announce(&listening, settings.control, move || {
        let counts = handle.counts();
        let named = counts.named().into_iter().chain([(SYSTEM_CALLS, counts.system_calls())]);
        Some(named.map(|(name, count)| (name.to_owned(), count)).collect())
    })?;
    server.run().with_context(|| format!("{} failed", settings.model))
}

/// Prepares this process to serve: raises its descriptor limit and pins it.
///
/// Call it before anything starts a thread, for threads inherit the pinning. Returns the
/// limit before and after, if it was raised.
///
/// # Errors
///
/// A processor that this process cannot be pinned to.
pub fn prepare(pin: Option<usize>) -> anyhow::Result<Option<(u64, u64)>> {
    if let Some(processor) = pin {
        process::pin(processor)
            .with_context(|| format!("cannot pin the server to processor {processor}"))?;
    }
    Ok(process::raise_descriptor_limit())
}

/// Says that the server listens: to its parent, which it answers from then on, or to the
/// person who started it.
///
/// # Errors
///
/// The standard output is closed, or the system refuses a thread.
pub fn announce(
    listening: &Listening,
    control: bool,
    counters: impl Fn() -> Option<Counters> + Send + 'static,
) -> anyhow::Result<()> {
    if control {
        control::answer(listening, counters)?;
        return Ok(());
    }
    println!("listening on {}", listening.listening);
    if let Some((soft, hard)) = listening.raised_descriptor_limit {
        eprintln!("descriptor limit raised from {soft} to {hard}");
    }
    Ok(())
}
