//! A process for each connection, where there is no fork.

use std::io;
use std::ops::ControlFlow;

use polyloop::{Accepted, Address, Config, Protocol};

use crate::BoundServer;

/// What a server that forks looks after between its connections: there is none on this system.
#[derive(Debug)]
pub struct Attendant(());

impl Attendant {
    /// Nobody would call it.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn of_stdin(_: impl FnMut() -> ControlFlow<()> + 'static) -> io::Result<Attendant> {
        Err(unsupported())
    }
}

pub(crate) fn check() -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn bind<P, F>(_: &[Address], _: Config, _: F) -> io::Result<BoundServer>
where
    P: Protocol + 'static,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    Err(unsupported())
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "process: Unix only, for it forks")
}
