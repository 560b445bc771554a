//! What only Linux has, for [polyloop](https://docs.rs/polyloop): epoll as a backend, level- or
//! edge-triggered, and a driver on `io_uring`.
//!
//! On other systems the crate is empty, so that a workspace may depend on it everywhere.
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

mod uring;

pub use uring::UringServer;
