//! What the models share whose threads block.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use polyloop::blocking::{Entrance, Service};
use polyloop::{listen_all, Accepted, Address, Config, Protocol};

use crate::BoundServer;

/// Listeners, and the service that accepts at them.
pub(crate) struct Blocking<F> {
    pub(crate) entrances: Vec<Arc<Entrance>>,
    pub(crate) service: Arc<Service<F>>,
}

impl<F> Blocking<F> {
    pub(crate) fn bind(
        addresses: &[Address],
        config: Config,
        factory: F,
    ) -> io::Result<Blocking<F>> {
        let listeners = listen_all(addresses, config.backlog)?;
        let service = Arc::new(Service::new(config, factory));
        let entrances = listeners.into_iter().map(|listener| service.entrance(listener));
        Ok(Blocking { entrances: entrances.collect::<io::Result<_>>()?, service })
    }

    /// A server that serves with `run`.
    pub(crate) fn served_by(
        self,
        run: impl FnOnce(Blocking<F>) -> io::Result<()> + Send + 'static,
    ) -> BoundServer
    where
        F: Send + Sync + 'static,
    {
        let addresses = self.entrances.iter().map(|entrance| entrance.address().clone()).collect();
        BoundServer::new(addresses, self.service.handle(), move || run(self))
    }
}

/// Serves one connection after another, until the server is to end.
///
/// A protocol that panics ends its connection; the others still wait to be served.
pub(crate) fn one_after_another<P, F>(service: &Service<F>, entrance: &Entrance)
where
    P: Protocol,
    F: Fn(&Accepted<'_>) -> P,
{
    while let Some((stream, peer)) = service.accept(entrance) {
        // What a panic may leave in disorder belongs to the connection, and ends with it.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| service.serve(stream, &peer)));
    }
}
