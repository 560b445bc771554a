//! The load generator: one thread that keeps many connections busy with requests and checks
//! every byte that comes back.
//!
//! It stands on mio directly and not on polyloop, so that the thing under test is not also
//! the thing that tests. It reads the clock once a request and allocates nothing for one.
//!
//! A run has four phases: *open* (every connection is established and exchanges one
//! request), *warm-up*, the *measured* phase, and the report. Between two phases no request
//! is under way, and a [`Gate`] lets a parent read the server's figures there: what the
//! server did between the two readings is exactly what the report counts.

mod client;
mod connection;
mod contents;
mod datagram;
mod generator;
mod messages;
mod pace;
mod report;
mod system;

pub(crate) use messages::Messages;
pub use report::{Errors, Latency, Losses, Report, SATURATED};

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{bail, Context};
use polyloop::datagram::LONGEST;
use polyloop::Address;
use serde::{Deserialize, Serialize};

use crate::control::Gate;
use crate::mistake::Mistake;
use crate::protocols::Builtin;
use crate::transport::Transport;
use crate::{process, units};
use generator::Generator;

/// What a load run shall do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server listens.
    pub target: Address,
    /// What carries the requests.
    pub transport: Transport,
    /// What it speaks.
    pub protocol: Builtin,
    /// How many connections are held at the same time.
    pub connections: usize,
    /// How many of them make requests; the others have made one and are silent.
    pub active: usize,
    /// The length of a message in bytes, at least one: of what comes back to its sender, without
    /// what a protocol adds around it.
    pub size: usize,
    /// How long the measured phase makes new requests.
    pub duration: Duration,
    /// End after exactly so many requests instead.
    pub requests: Option<u64>,
    /// How long requests are made before measuring.
    pub warmup: Duration,
    /// Open loop: so many requests a second, whether or not the server keeps up.
    pub rate: Option<f64>,
    /// One request a connection: connect, request, answer, close.
    pub short: bool,
    /// How long a request may take before its connection counts as failed, or its datagram as
    /// lost.
    pub timeout: Duration,
    /// What the contents of the messages follow from.
    pub seed: u64,
    /// The processor to run on.
    pub pin: Option<usize>,
}

impl Settings {
    /// Says whether the transport can do what shall be done.
    fn check(&self) -> Result<(), Mistake> {
        self.transport.check(self.protocol)?;
        if self.transport == Transport::Tcp {
            return Ok(());
        }
        if self.short {
            return Err(Mistake("--short is for connections: udp has none".to_owned()));
        }
        if self.target.ip().is_none() {
            let target = &self.target;
            return Err(Mistake(format!(
                "datagrams go over UDP, to an IP address and not {target}"
            )));
        }
        if !DATAGRAM_SIZES.contains(&self.size) {
            return Err(Mistake(format!(
                "a datagram has {} to {} bytes here, for it carries its number: choose another --size",
                DATAGRAM_SIZES.start(),
                units::count(*DATAGRAM_SIZES.end() as u64),
            )));
        }
        Ok(())
    }
}

/// From the numbers by which an answer is recognized to all that UDP carries.
const DATAGRAM_SIZES: RangeInclusive<usize> = 8..=LONGEST;

/// What a controlled load generator prints at the end of a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum Phase {
    /// All connections are established and have exchanged one request.
    Connected {
        /// How many of them live.
        connections: usize,
    },
    /// The warm-up is over and no request is under way.
    Warm,
    /// The measured phase is over; the connections are still open.
    Done {
        /// What it found.
        report: Box<Report>,
    },
}

/// Descriptors that the process needs for itself.
const OWN_DESCRIPTORS: u64 = 16;

/// Runs the load and reports what it found.
///
/// # Errors
///
/// A size that the protocol does not take ([`Mistake`]), too few descriptors, a
/// processor that cannot be pinned to, no connection at all, or a
/// failure of the system's event queue. Failures of single connections are in the report.
pub fn run(settings: &Settings, gate: &Gate) -> anyhow::Result<Report> {
    settings.check()?;
    if let Some(processor) = settings.pin {
        process::pin(&[processor])
            .with_context(|| format!("cannot pin the load generator to processor {processor}"))?;
    }
    let raised = process::raise_descriptor_limit();
    check_descriptors(settings.connections as u64)?;

    let mut generator = Generator::new(settings)?;
    generator.open()?;
    let connections = generator.alive();
    gate.wait(&Phase::Connected { connections })?;

    generator.measure(settings.warmup, None)?;
    gate.wait(&Phase::Warm)?;

    generator.forget();
    let before = process::usage();
    let window = generator.measure(settings.duration, settings.requests)?;
    let processor_ns = process::usage().since(&before).processor_ns();
    let report = generator.report(&window, processor_ns, raised);
    gate.wait(&Phase::Done { report: Box::new(report.clone()) })?;
    Ok(report)
}

fn check_descriptors(connections: u64) -> anyhow::Result<()> {
    let needed = connections + OWN_DESCRIPTORS;
    match process::descriptor_limit() {
        Some(limit) if limit < needed => bail!(
            "{} connections need {} descriptors and this process may open {}: \
             raise the hard limit (ulimit -Hn) or ask for fewer connections",
            units::count(connections),
            units::count(needed),
            units::count(limit),
        ),
        _ => Ok(()),
    }
}
