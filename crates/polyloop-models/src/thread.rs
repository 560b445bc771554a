//! A thread for each connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;

use polyloop::blocking::Service;
use polyloop::{listen, Address, Config, Listener, Peer, Protocol, ServerHandle, ToAddresses};

/// A server that starts a thread for each connection. The thread sits in `read`, and ends with the
/// connection.
///
/// When no further thread can be started, the connection that needed it is closed, and the log
/// says so.
pub struct ThreadServer<F> {
    listeners: Vec<Listener>,
    addresses: Vec<Address>,
    service: Arc<Service<F>>,
}

impl<F> ThreadServer<F> {
    /// Listens on `addresses`. `factory` makes the protocol of each connection.
    ///
    /// # Errors
    ///
    /// An address can't be listened on.
    pub fn bind(
        addresses: impl ToAddresses,
        config: Config,
        factory: F,
    ) -> io::Result<ThreadServer<F>> {
        let listeners: Vec<_> = addresses
            .to_addresses()?
            .iter()
            .map(|address| listen(address, config.backlog))
            .collect::<io::Result<_>>()?;
        let addresses: Vec<_> =
            listeners.iter().map(|listener| listener.address().clone()).collect();
        let service = Service::new(config, factory);
        for address in &addresses {
            service.listens_on(address.clone());
        }
        Ok(ThreadServer { listeners, addresses, service: Arc::new(service) })
    }

    /// Where it listens, with the ports that the system chose.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Makes a handle, with which any thread ends the server and sees what it counts.
    pub fn handle(&self) -> ServerHandle {
        self.service.handle()
    }
}

impl<P, F> ThreadServer<F>
where
    P: Protocol,
    F: Fn(&Peer) -> P + Send + Sync + 'static,
{
    /// Serves until a [`ServerHandle`] ends it. A thread accepts for each address, the calling
    /// thread for the first.
    ///
    /// # Errors
    ///
    /// A thread to accept can't be started.
    pub fn run(self) -> io::Result<()> {
        let mut listeners = self.listeners.into_iter();
        let first = listeners.next();
        let mut acceptors = Vec::new();
        for listener in listeners {
            let service = Arc::clone(&self.service);
            let acceptor = thread::Builder::new().name("polyloop accept".into());
            match acceptor.spawn(move || accept(&service, &listener)) {
                Ok(acceptor) => acceptors.push(acceptor),
                Err(error) => {
                    // Those that were started are not left behind.
                    self.service.handle().stop();
                    return Err(error);
                }
            }
        }
        if let Some(listener) = first {
            accept(&self.service, &listener);
        }
        for acceptor in acceptors {
            // A panic there has been printed, and the others go on to their end.
            let _ = acceptor.join();
        }
        self.service.wait_for_end();
        Ok(())
    }
}

fn accept<P, F>(service: &Arc<Service<F>>, listener: &Listener)
where
    P: Protocol,
    F: Fn(&Peer) -> P + Send + Sync + 'static,
{
    let mut starved = false;
    while let Some((stream, peer)) = service.accept(listener) {
        let serving = Arc::clone(service);
        let spawned = thread::Builder::new().spawn(move || serving.serve(stream, &peer));
        match spawned {
            Ok(_) => starved = false,
            Err(error) => {
                service.give_up();
                if !std::mem::replace(&mut starved, true) {
                    log::warn!(
                        "no thread for a further connection: {error}; it is closed (raise the \
                         limit of threads, or set max_connections below it)"
                    );
                }
            }
        }
    }
}

impl<F> fmt::Debug for ThreadServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadServer").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
