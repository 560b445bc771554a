//! `polyloop serve`: one server on one model.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{anyhow, bail, Context};
use socket2::{Domain, Protocol as Transport, Socket, Type};

use crate::cli::Usage;
use crate::control::{self, Counters, Listening};
use crate::process;

/// The models, in the order in which they are shown. The one list of them in this crate.
pub const MODELS: &[&str] = &["mio", "poll", "thread"];

/// The protocols that can be served.
pub const PROTOCOLS: &[&str] = &["echo"];

/// What shall be served, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of a model, one of [`MODELS`].
    pub model: String,
    /// The name of a protocol, one of [`PROTOCOLS`].
    pub protocol: String,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How many connections may wait to be accepted.
    pub backlog: u32,
    /// A parent talks to this server through its standard input and output.
    pub control: bool,
    /// The processor to run on.
    pub pin: Option<usize>,
}

/// Serves until the process ends.
///
/// # Errors
///
/// An unknown model or protocol ([`Usage`]), an address that cannot be listened on, or a
/// failure of the server itself.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    known("model", &settings.model, MODELS)?;
    known("protocol", &settings.protocol, PROTOCOLS)?;
    bail!("model {} is not built yet", settings.model)
}

fn known(what: &str, name: &str, names: &[&str]) -> Result<(), Usage> {
    if names.contains(&name) {
        return Ok(());
    }
    Err(Usage(format!("there is no {what} {name}: choose one of {}", names.join(", "))))
}

/// Listens as every measured server does: non-blocking or not, `SO_REUSEADDR` where it means
/// that ports in TIME_WAIT are no obstacle, and the given backlog.
///
/// # Errors
///
/// One line that says what to do.
pub fn listen(address: SocketAddr, backlog: u32) -> anyhow::Result<TcpListener> {
    let listener = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Transport::TCP))?;
        // On Windows the option would let two servers share a port.
        if std::path::MAIN_SEPARATOR == '/' {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(socket.into())
    };
    listener().map_err(|error| explain(address, &error))
}

/// Says what to do about an address that cannot be listened on.
pub fn explain(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use: choose another, or port 0 for a free one",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: try 127.0.0.1, or 0.0.0.0 for all"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need privileges: choose a higher one, or port 0 for a free one"
        }
        _ => return anyhow!("cannot listen on {address}: {error}"),
    };
    anyhow!("cannot listen on {address}: {what}")
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
