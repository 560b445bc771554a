//! A Poll/Token event loop on mio.
#![forbid(unsafe_code)]

mod backend;
mod counters;
mod event_loop;
mod interest;
mod mailbox;
mod mio_backend;
mod source;
mod table;
mod timers;
mod token;
mod token_map;

pub use backend::{Backend, Caps, Event, Events, Trigger, Waker};
pub use counters::{Counter, Counters, Counts};
pub use event_loop::{Context, EventLoop, Handler};
pub use interest::{Interest, Readiness};
pub use mailbox::{SendError, Sender};
pub use mio_backend::MioBackend;
pub use source::{Descriptor, RawSource, Source};
pub use table::Table;
pub use timers::{TimerId, Timers};
pub use token::Token;
pub use token_map::TokenMap;
