//! The names of this crate where the system is not Linux.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use mio::{event, Registry};
use polyloop::datagram::{DatagramSocket, Inbox, Outbox};
use polyloop::{
    AcceptPolicy, Accepted, Address, Backend, BorrowedSource, Caps, Config, Events, Interest,
    Protocol, ServerGroup, ServerHandle, Source, ToAddresses, Token, Trigger, Waker,
};

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

/// Says that this system has no io_uring.
///
/// # Errors
///
/// `Unsupported`, always.
pub fn check_uring() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "uring: Linux only"))
}

/// A server on io_uring, which this system does not have: there is never one of these.
#[derive(Debug)]
pub struct UringServer<F>(Infallible, PhantomData<F>);

impl<F> UringServer<F> {
    /// Says that this system has no io_uring.
    ///
    /// # Errors
    ///
    /// `Unsupported`, always.
    pub fn bind<P: Protocol>(_: impl ToAddresses, _: Config, _: F) -> io::Result<UringServer<F>>
    where
        F: Fn(&Accepted<'_>) -> P,
    {
        check_uring().map(|()| unreachable!("there is none"))
    }

    /// Says that this system has no io_uring.
    ///
    /// # Errors
    ///
    /// `Unsupported`, always.
    pub fn bind_loops<P: Protocol + 'static>(
        _: impl ToAddresses,
        _: Config,
        _: usize,
        _: AcceptPolicy,
        _: F,
    ) -> io::Result<ServerGroup>
    where
        F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
    {
        check_uring().map(|()| unreachable!("there is none"))
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        match self.0 {}
    }

    /// Makes a handle.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        match self.0 {}
    }

    /// Serves.
    ///
    /// # Errors
    ///
    /// None.
    pub fn run<P: Protocol>(self) -> io::Result<()>
    where
        F: Fn(&Accepted<'_>) -> P,
    {
        match self.0 {}
    }
}

/// Several datagrams at a call, for which this system has none: there is never one of these.
#[derive(Debug)]
pub enum BatchSocket {}

impl BatchSocket {
    /// Says that this system has no call for several datagrams.
    ///
    /// # Errors
    ///
    /// `Unsupported`, always.
    pub fn new(_: UdpSocket) -> io::Result<BatchSocket> {
        let message = "batches of datagrams: Linux only, whose kernel has recvmmsg and sendmmsg";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}

impl DatagramSocket for BatchSocket {
    const BATCH: usize = 1;

    fn receive(&self, _: &mut Inbox) -> io::Result<()> {
        match *self {}
    }

    fn send(&self, _: &Outbox) -> io::Result<usize> {
        match *self {}
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        match *self {}
    }
}

impl event::Source for BatchSocket {
    fn register(&mut self, _: &Registry, _: mio::Token, _: mio::Interest) -> io::Result<()> {
        match *self {}
    }

    fn reregister(&mut self, _: &Registry, _: mio::Token, _: mio::Interest) -> io::Result<()> {
        match *self {}
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        match *self {}
    }
}

impl Source for BatchSocket {
    fn borrowed(&self) -> BorrowedSource<'_> {
        match *self {}
    }
}
