//! What only Linux has, for [polyloop](https://docs.rs/polyloop): epoll as a backend, level- or
//! edge-triggered, and a driver on `io_uring`.
//!
//! On other systems the crate has the same names, and whoever opens one is told that it needs
//! Linux: a workspace may depend on it everywhere.
//!
//! ```
//! use polyloop::{Connection, Protocol, Server, Trigger};
//! use polyloop_linux::EpollBackend;
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
//! # if cfg!(not(target_os = "linux")) { return Ok(()) }
//! let server = Server::builder()
//!     .listen("127.0.0.1:0")
//!     .backend(EpollBackend::new(Trigger::Level)?)
//!     .build(|_| Echo)?;
//! # server.handle().stop();
//! server.run()
//! # }
//! ```
#![deny(unsafe_code)]

#[cfg(target_os = "linux")]
mod batch;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod epoll;
#[cfg(target_os = "linux")]
mod uring;
#[cfg(target_os = "linux")]
mod wake;

#[cfg(target_os = "linux")]
pub use batch::BatchSocket;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{check_uring, BatchSocket, EpollBackend, UringServer};
#[cfg(target_os = "linux")]
pub use epoll::EpollBackend;
#[cfg(target_os = "linux")]
pub use uring::{check_uring, UringServer};
