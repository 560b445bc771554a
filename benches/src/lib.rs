//! Servers written by hand, to compare polyloop with: what a good programmer would write for
//! one machine and one protocol, without a framework.
//!
//! All of them echo, and all of them do the same: the backlog from `--backlog`, `SO_REUSEADDR` and
//! `TCP_NODELAY` on the listener, from which connections take it, soft limit of descriptors raised
//! to the hard one. A loop reads into one buffer of 64 KiB; a thread or a task for each connection
//! has a buffer of its own, 16 KiB each. None waits for input of a peer that does not take the
//! output.
//!
//! A loop counts its system calls, a plain addition a call; it publishes them once a turn
//! for the thread that answers `stats`.
#![deny(unsafe_code)]

#[cfg(target_os = "linux")]
pub mod bare_epoll;
pub mod bare_iterative;
pub mod bare_mio;
#[cfg(unix)]
pub mod bare_poll;
pub mod bare_pool;
#[cfg(unix)]
pub mod bare_process;
#[cfg(unix)]
pub mod bare_select;
pub mod bare_thread;
#[cfg(target_os = "linux")]
pub mod bare_uring;
#[cfg(unix)]
mod connection;
pub mod tokio_current_thread;

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Args, Parser};
use polyloop::Address;
use polyloop_bench::control::{Answers, Counted, Counters, Listening, SYSTEM_CALLS};
use polyloop_bench::serve::{self, prepare};
use polyloop_bench::{cli, transport};

/// The buffer that a loop reads into.
pub const LOOP_BUFFER: usize = 64 * 1024;
/// The buffer of one connection, where each needs its own.
pub const CONNECTION_BUFFER: usize = 16 * 1024;
/// How long a server rests when it is out of descriptors or threads.
pub const REST: Duration = Duration::from_millis(10);

/// What every one of these servers understands.
#[derive(Debug, Parser)]
#[command(about = "An echo server written by hand, to compare polyloop with")]
struct Arguments<More: Args> {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7000", value_parser = transport::parse_address)]
    listen: Address,
    /// How many connections may wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    backlog: u32,
    /// Answer a parent on standard input and output, and end with it
    #[arg(long)]
    control: bool,
    /// Run on this processor only
    #[arg(long, value_name = "PROCESSOR")]
    pin: Option<usize>,
    #[command(flatten)]
    more: More,
}

/// System calls so far, as last published by the loop; `u64::MAX` if the server does not count.
static PUBLISHED: AtomicU64 = AtomicU64::new(u64::MAX);

/// Lets the thread that answers `stats` see how many system calls the loop has made.
pub fn publish_system_calls(calls: u64) {
    PUBLISHED.store(calls, Ordering::Relaxed);
}

fn counted() -> Counted {
    let calls = PUBLISHED.load(Ordering::Relaxed);
    let counts = calls != u64::MAX;
    let counters = counts.then(|| Counters::from([(SYSTEM_CALLS.to_owned(), calls)]));
    Counted { counters, ..Counted::default() }
}

/// No further arguments.
#[derive(Debug, Args)]
struct Nothing {}

/// Reads the arguments, listens, says so, and hands the listener to `server`.
pub fn main(server: impl FnOnce(TcpListener) -> io::Result<()>) -> ExitCode {
    main_with(|listener, Nothing {}| server(listener))
}

/// As [`main`], for a server with arguments of its own.
pub fn main_with<More: Args>(server: impl FnOnce(TcpListener, More) -> io::Result<()>) -> ExitCode {
    begin(|listener, listening, arguments: Arguments<More>| {
        serve::announce(&listening, arguments.control, counted)?;
        Ok(server(listener, arguments.more)?)
    })
}

/// What a server answers its parent that may have no thread for it.
pub type Control = Answers<fn() -> Counted>;

/// As [`main`], for a server that forks, and so has to be the only thread of its process.
pub fn main_alone(server: impl FnOnce(TcpListener, Option<Control>) -> io::Result<()>) -> ExitCode {
    begin(|listener, listening, arguments: Arguments<Nothing>| {
        let control = if arguments.control {
            Some(Control::begin(listening, counted)?)
        } else {
            serve::announce(&listening, false, counted)?;
            None
        };
        Ok(server(listener, control)?)
    })
}

fn begin<More: Args>(
    serve: impl FnOnce(TcpListener, Listening, Arguments<More>) -> anyhow::Result<()>,
) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::explain(&error),
    };
    match listen(arguments, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn listen<More: Args>(
    arguments: Arguments<More>,
    serve: impl FnOnce(TcpListener, Listening, Arguments<More>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let raised_descriptor_limit = prepare(arguments.pin)?;
    let listener = polyloop::listen(&arguments.listen, arguments.backlog)?;
    let listening = Listening {
        listening: listener.address().to_string(),
        raised_descriptor_limit,
        pinned: arguments.pin,
        ..Listening::default()
    };
    serve(listener.into(), listening, arguments)
}
