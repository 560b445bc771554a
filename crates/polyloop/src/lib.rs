//! A Poll/Token event loop on mio.
#![forbid(unsafe_code)]

mod backend;
pub mod blocking;
mod clock;
mod config;
mod connection;
mod counters;
mod event_loop;
mod handle;
mod interest;
mod listen;
mod machine;
mod mailbox;
mod mio_backend;
mod protocol;
mod server;
mod source;
mod sources;
mod table;
mod timers;
mod token;
mod token_map;

pub use backend::{Backend, Caps, Event, Events, Trigger, Waker};
pub use clock::Tick;
pub use config::Config;
pub use connection::Connection;
pub use counters::{Counter, Counters, Counts};
pub use event_loop::{Context, EventLoop, Handler};
pub use handle::{Handle, ServerHandle};
pub use interest::{Interest, Readiness};
pub use listen::listen;
pub use mailbox::{SendError, Sender};
pub use mio_backend::MioBackend;
pub use protocol::{Closed, Protocol};
pub use server::{IntoBackend, Server, ServerBuilder, Unset};
pub use source::{Descriptor, RawSource, Source};
pub use table::Table;
pub use timers::{TimerId, Timers};
pub use token::Token;
pub use token_map::TokenMap;

/// What a model is made of: for those who write another way to serve a [`Protocol`].
pub mod driver {
    pub use crate::handle::{Control, Remote};
    pub use crate::machine::{Environment, Machine, Peer, Step};
}
