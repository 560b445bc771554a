//! The names of this crate where the system is not Linux.

use std::io;
use std::time::Duration;

use polyloop::{Backend, Caps, Events, Interest, Source, Token, Trigger, Waker};

/// epoll, which this system does not have: there is never one of these.
#[derive(Debug)]
pub enum EpollBackend {}

impl EpollBackend {
    /// Says that this system has no epoll.
    ///
    /// # Errors
    ///
    /// `Unsupported`, always.
    pub fn new(_: Trigger) -> io::Result<EpollBackend> {
        let message = "epoll: Linux only; the mio backend has what is closest to it here";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}

impl Backend for EpollBackend {
    fn name(&self) -> &'static str {
        match *self {}
    }

    fn caps(&self) -> Caps {
        match *self {}
    }

    fn register<S: Source + ?Sized>(&mut self, _: &mut S, _: Token, _: Interest) -> io::Result<()> {
        match *self {}
    }

    fn reregister<S: Source + ?Sized>(
        &mut self,
        _: &mut S,
        _: Token,
        _: Interest,
    ) -> io::Result<()> {
        match *self {}
    }

    fn deregister<S: Source + ?Sized>(&mut self, _: &mut S) -> io::Result<()> {
        match *self {}
    }

    fn poll(&mut self, _: &mut Events, _: Option<Duration>) -> io::Result<()> {
        match *self {}
    }

    fn waker(&self) -> Waker {
        match *self {}
    }
}
