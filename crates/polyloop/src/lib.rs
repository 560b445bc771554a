//! Write a protocol once; serve it with any multiplexer, or with none.
//!
//! ```
//! use polyloop::{Connection, Protocol, Server};
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
//!         connection.send(input);
//!         input.len()
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let server = Server::builder().listen("127.0.0.1:0").build(|_| Echo)?;
//! # server.handle().stop();
//! server.run()
//! # }
//! ```
//!
//! There are three floors; each stands on the one below, and each can be used by itself.
//!
//! | floor | you write | you get |
//! |---|---|---|
//! | [`Server`], for streams | a [`Protocol`]: bytes in, bytes out | accepting within limits, buffers, water marks, half-close, deadlines, drain |
//! | [`DatagramServer`], beside it | a [`DatagramProtocol`]: one datagram in, one out | fairness, answers that wait, what was too long, drain |
//! | [`EventLoop`] | a [`Handler`]: this token is ready, this timer is due | edges and levels made one, fairness, timers, messages from other threads |
//! | [`Backend`] | everything | which tokens are ready |
//!
//! [`MioBackend`] is the backend of this crate; `polyloop-select` has select(2) and poll(2),
//! `polyloop-linux` epoll. Without any, a [`blocking::Service`] drives the same protocols on threads
//! that block, and `polyloop-models` lists all the ways there are.
//!
//! The loop logs what it does with the [`log`] crate: connections at `debug`, and at `trace` every
//! turn's ready set, reads, writes and changes of interest.
#![forbid(unsafe_code)]

mod address;
mod backend;
pub mod blocking;
mod clock;
mod config;
mod connection;
mod context;
mod counters;
pub mod datagram;
mod event_loop;
mod handle;
mod interest;
mod listen;
mod machine;
mod mailbox;
mod mio_backend;
mod protocol;
mod registrations;
mod server;
mod source;
mod sources;
mod starvation;
mod stopwatch;
mod table;
mod timers;
mod token;
mod token_map;
mod watchdog;

pub use address::{Address, Peer, ToAddresses};
pub use backend::{Backend, Caps, Event, Events, Trigger, Waker, LONGEST_WAIT};
pub use clock::Tick;
pub use config::Config;
pub use connection::{Accepted, Connection};
pub use context::Context;
pub use counters::{Counter, Counters, Counts};
pub use datagram::{DatagramProtocol, DatagramServer, Reply};
pub use event_loop::{EventLoop, Handler};
pub use handle::{Handle, ServerHandle};
pub use interest::{Interest, Readiness};
pub use listen::{concerns_one_connection, listen, listen_all, Listener};
pub use mailbox::{SendError, Sender};
pub use mio_backend::MioBackend;
pub use protocol::{Closed, Protocol};
pub use registrations::Registrations;
pub use server::{AcceptPolicy, IntoBackend, Server, ServerBuilder, ServerGroup, Unset};
pub use source::{BorrowedSource, Descriptor, RawSource, Source};
pub use table::Table;
pub use timers::{TimerId, TimerList, Timers};
pub use token::Token;
pub use token_map::TokenMap;

/// What a model is made of: for those who write another way to serve a [`Protocol`].
pub mod driver {
    pub use crate::handle::{Control, Remote};
    pub use crate::machine::{Ended, Environment, Machine, Step};
    pub use crate::mailbox::Mailbox;
    pub use crate::server::{Message, Place, Remotes, Run, Seat};
    pub use crate::starvation::Starvation;
    pub use crate::stopwatch::Stopwatch;
    pub use crate::watchdog::Watchdog;
}
