//! Select-style backends for [polyloop]: the calls that are handed the whole set of
//! descriptors each time.
//!
//! [`PollBackend`] waits with poll(2), WSAPoll on Windows. It is level-triggered and runs on every
//! system, which makes it the one to compare the kernel-set backends with: a change of interest
//! costs a few stores instead of a system call, and each wait costs time in proportion to the
//! number of descriptors. [`SelectBackend`] does the same with select(2), whose sets have room for
//! a fixed number of descriptors, unless it is made without that limit.
//!
//! ```
//! use polyloop::{Protocol, Connection, Server};
//! use polyloop_select::PollBackend;
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
//! let server = Server::builder()
//!     .listen("127.0.0.1:0")
//!     .backend(PollBackend::new()?)
//!     .build(|_| Echo)?;
//! # server.handle().stop();
//! server.run()
//! # }
//! ```

mod poll;
mod raw;
mod select;
mod timeout;
mod waker;

pub use poll::PollBackend;
pub use select::SelectBackend;
