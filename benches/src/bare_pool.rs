//! An echo server with a fixed number of threads, written by hand: each accepts for itself, and
//! makes two system calls a request.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use clap::Args;

use crate::bare_iterative::one_after_another;

/// What this server understands besides.
#[derive(Debug, Args)]
pub struct Threads {
    /// How many threads there are
    #[arg(long, value_name = "N", default_value = "8")]
    threads: NonZeroUsize,
}

/// Serves for ever.
///
/// # Errors
///
/// A thread can't be started; what goes wrong with one connection ends that one only.
pub fn serve(listener: TcpListener, Threads { threads }: Threads) -> io::Result<()> {
    let listener = Arc::new(listener);
    for _ in 1..threads.get() {
        let listener = Arc::clone(&listener);
        thread::Builder::new().spawn(move || one_after_another(&listener))?;
    }
    one_after_another(&listener)
}
