//! `polyloop serve`: one server on one model.

use std::io::ErrorKind;

use anyhow::Context;
use polyloop::{Address, Config, ServerHandle};
use polyloop_models::Variant;

use crate::control::{taken_by_loops, Answers, Counted, Listening};
use crate::mistake::Mistake;
use crate::output;
use crate::process;
use crate::protocols::{Builtin, Cost, Echo};
use crate::transport::Transport;
use crate::units;

/// What shall be served, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How connections are held.
    pub model: Variant,
    /// What carries requests.
    pub transport: Transport,
    /// What connections say. Datagrams are echoed.
    pub protocol: Builtin,
    /// What a request of [`Work`](crate::protocols::Work) takes.
    pub cost: Cost,
    /// Where to listen.
    pub listen: Address,
    /// Backlog, deadlines and limits.
    pub config: Config,
    /// A parent talks to this server through its standard input and output.
    pub control: bool,
    /// The processor to run on.
    pub pin: Option<usize>,
}

/// Serves until the process ends.
///
/// # Errors
///
/// An address that cannot be listened on, a model that this system lacks, or a failure of the
/// server itself.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings { model, protocol, cost, listen, config, .. } = settings;
    let options = model.options(config);
    let checked = match settings.transport {
        Transport::Tcp => options.check(model.model()),
        Transport::Udp => options.check_datagrams(model.model()),
    };
    checked.map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Mistake(error.to_string()).into(),
        _ => anyhow::Error::from(error),
    })?;
    let raised_descriptor_limit = prepare(settings.pin)?;
    let at_once = match settings.transport {
        Transport::Tcp => model.model().connections_at_once(&options),
        Transport::Udp => None,
    };
    let server = match settings.transport {
        Transport::Tcp => protocol.bind(model.model(), listen, options, cost)?,
        Transport::Udp => model.model().bind_datagram(listen, options, || Echo)?,
    };
    let listening = Listening {
        listening: server.addresses()[0].to_string(),
        raised_descriptor_limit,
        pinned: settings.pin,
        at_once,
        counts_late: model.model().forks(),
    };
    let handle = server.handle();
    let counting = handle.clone();
    let counted = move || Counted::by(&counting);
    let served = if settings.control && model.model().forks() {
        let answers = Answers::begin(listening, counted)?;
        let attendant = answers.from_the_accept_loop(server.handle())?;
        server.run_with(attendant)
    } else {
        announce(&listening, settings.control, counted)?;
        if !settings.control && handle.loops().len() > 1 {
            tell_shares_at_the_end(handle)?;
        }
        server.run()
    };
    served.with_context(|| format!("{model} failed"))
}

/// Has an interrupt tell how many connections each loop took before it ends the process.
///
/// It takes a thread, which a server with one loop has no use for: to show that it needs none is
/// what such a server is there for.
fn tell_shares_at_the_end(server: ServerHandle) -> anyhow::Result<()> {
    process::on_interrupt(move || {
        let taken = taken_by_loops(&server);
        let all = units::count(taken.iter().sum());
        let taken = units::each(&taken);
        output::tell(&format!("\npolyloop: {all} connections served, by loop: {taken}"));
        std::process::exit(130);
    })
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
        process::pin(&[processor])
            .with_context(|| format!("cannot pin the server to processor {processor}"))?;
    }
    Ok(process::raise_descriptor_limit())
}

/// Says that the server listens: to its parent, which it answers from then on, or to the
/// person who started it.
///
/// # Errors
///
/// The standard output cannot be written to, or the system refuses a thread.
pub fn announce(
    listening: &Listening,
    control: bool,
    counted: impl Fn() -> Counted + Send + 'static,
) -> anyhow::Result<()> {
    if control {
        Answers::begin(listening.clone(), counted)?.on_a_thread()?;
        return Ok(());
    }
    output::print(&format!("listening on {}\n", listening.listening))?;
    if let Some((soft, hard)) = listening.raised_descriptor_limit {
        output::tell(&format!("descriptor limit raised from {soft} to {hard}"));
    }
    Ok(())
}
