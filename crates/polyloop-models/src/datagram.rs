//! The models for which datagrams make sense.

use std::io;
use std::net;

use mio::net::UdpSocket;
use polyloop::datagram::{bind, DatagramSocket, Service};
use polyloop::{
    Address, Backend, Config, DatagramProtocol, DatagramServer, MioBackend, Source, ToAddresses,
};
use polyloop_linux::{BatchSocket, EpollBackend};
use polyloop_select::{PollBackend, SelectBackend};

use crate::{spin, BoundServer, Model, Options};

impl Model {
    /// Receives datagrams at `addresses`, ready to serve. `factory` makes the protocol: one for a
    /// loop, one for each thread of a model that has several.
    ///
    /// ```
    /// use std::net::SocketAddr;
    ///
    /// use polyloop::{Config, DatagramProtocol, Reply};
    /// use polyloop_models::Model;
    ///
    /// struct Echo;
    ///
    /// impl DatagramProtocol for Echo {
    ///     fn received(&mut self, _from: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
    ///         reply.send(datagram);
    ///     }
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let server = Model::Poll.bind_datagram("127.0.0.1:0", Config::default(), || Echo)?;
    /// # server.handle().stop();
    /// server.run()?;
    ///
    /// // A thread for each connection has no meaning where there are none.
    /// let refused = Model::Thread.bind_datagram("127.0.0.1:0", Config::default(), || Echo);
    /// assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::Unsupported);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What [`Options::check_datagrams`] says; `Unsupported`, with the reason, if this system lacks
    /// the model or has no [batches](Options::batches); an address can't be bound; a model that
    /// blocks has fewer threads than there are addresses, one of which would never be served.
    pub fn bind_datagram<P, F>(
        self,
        addresses: impl ToAddresses,
        options: impl Into<Options>,
        factory: F,
    ) -> io::Result<BoundServer>
    where
        P: DatagramProtocol + 'static,
        F: Fn() -> P + Send + 'static,
    {
        let options = options.into();
        if options.batches {
            self.bind_sockets(addresses, options, factory, BatchSocket::new)
        } else {
            self.bind_sockets(addresses, options, factory, |socket| Ok(UdpSocket::from_std(socket)))
        }
    }

    /// As [`bind_datagram`](Model::bind_datagram), with the sockets that `wrap` makes of those that
    /// are bound.
    ///
    /// # Errors
    ///
    /// As there, and what `wrap` says.
    pub fn bind_sockets<S, P, F>(
        self,
        addresses: impl ToAddresses,
        options: impl Into<Options>,
        factory: F,
        wrap: impl Fn(net::UdpSocket) -> io::Result<S>,
    ) -> io::Result<BoundServer>
    where
        S: DatagramSocket + Source + Send + 'static,
        P: DatagramProtocol + 'static,
        F: Fn() -> P + Send + 'static,
    {
        let options = options.into();
        options.check_datagrams(self)?;
        let Options { config, trigger, select_unlimited, threads, .. } = options;
        let blocks = matches!(self, Model::Iterative | Model::Pool);
        let open = |socket: net::UdpSocket| {
            socket.set_nonblocking(!blocks)?;
            wrap(socket)
        };
        let sockets = || bind(addresses)?.into_iter().map(open).collect::<io::Result<Vec<S>>>();
        match self {
            Model::Iterative => on_threads(sockets()?, 1, config, factory),
            Model::Pool => on_threads(sockets()?, threads.get(), config, factory),
            Model::Spin => {
                on_loop(spin::Everything::default(), sockets()?, config, factory).map(spin::asking)
            }
            Model::Select if select_unlimited => {
                on_loop(SelectBackend::unlimited()?, sockets()?, config, factory)
            }
            Model::Select => on_loop(SelectBackend::new()?, sockets()?, config, factory),
            Model::Poll => on_loop(PollBackend::new()?, sockets()?, config, factory),
            Model::Epoll => on_loop(EpollBackend::new(trigger)?, sockets()?, config, factory),
            Model::Mio => on_loop(MioBackend::new()?, sockets()?, config, factory),
            Model::Process | Model::Thread | Model::Uring => {
                unreachable!("it serves no datagrams")
            }
        }
    }

    /// Looks whether the model makes sense with datagrams.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with what and why, if it does not.
    pub fn serves_datagrams(self) -> io::Result<()> {
        let reason = match self {
            Model::Process | Model::Thread => "one for each connection, and datagrams have none",
            Model::Uring => "streams only; its receives are those of connections",
            Model::Iterative
            | Model::Spin
            | Model::Pool
            | Model::Select
            | Model::Poll
            | Model::Epoll
            | Model::Mio => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("{self}: {reason}")))
    }
}

fn on_threads<S, P>(
    sockets: Vec<S>,
    threads: usize,
    config: Config,
    factory: impl Fn() -> P + Send + 'static,
) -> io::Result<BoundServer>
where
    S: DatagramSocket + Send + 'static,
    P: DatagramProtocol + 'static,
{
    let service = Service::new(sockets, threads, config)?;
    let (addresses, handle) = (service.addresses().map(Address::Ip).collect(), service.handle());
    Ok(BoundServer::new(addresses, handle, move || service.run(factory)))
}

fn on_loop<B, S, P>(
    backend: B,
    sockets: Vec<S>,
    config: Config,
    factory: impl Fn() -> P,
) -> io::Result<BoundServer>
where
    B: Backend + Send + 'static,
    S: DatagramSocket + Source + Send + 'static,
    P: DatagramProtocol + 'static,
{
    let server = DatagramServer::new(backend, sockets, config, factory())?;
    let addresses = server.addresses().iter().copied().map(Address::Ip).collect();
    let handle = server.handle();
    Ok(BoundServer::new(addresses, handle, move || server.run()))
}
