//! A thread for each connection.

use std::io;
use std::sync::Arc;
use std::thread;

use polyloop::blocking::{Entrance, Service, MOST_THREADS};
use polyloop::{Accepted, Address, Config, Protocol};

use crate::blocking::Blocking;
use crate::BoundServer;

/// A server that starts a thread for each connection. The thread sits in `read`, and ends with the
/// connection. Another accepts for each address, the calling thread for the first.
///
/// When no further thread can be started, or there are [`MOST_THREADS`], the connection
/// that needed it is closed, and the log says so.
pub(crate) fn bind<P, F>(
    addresses: &[Address],
    config: Config,
    factory: F,
) -> io::Result<BoundServer>
where
    P: Protocol + 'static,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    Ok(Blocking::bind(addresses, config, factory)?.served_by(|blocking| run(&blocking)))
}

fn run<P, F>(blocking: &Blocking<F>) -> io::Result<()>
where
    P: Protocol,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    let Blocking { service, entrances } = blocking;
    thread::scope(|scope| {
        for entrance in &entrances[1..] {
            let acceptor = thread::Builder::new().name("polyloop accept".into());
            if let Err(error) = acceptor.spawn_scoped(scope, || accept(service, entrance)) {
                // Those that were started are not left behind.
                service.handle().stop();
                return Err(error);
            }
        }
        accept(service, &entrances[0]);
        Ok(())
    })?;
    service.wait_for_end();
    Ok(())
}

fn accept<P, F>(service: &Arc<Service<F>>, entrance: &Entrance)
where
    P: Protocol,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    while let Some((stream, peer)) = service.accept(entrance) {
        if service.threads() > MOST_THREADS {
            let message = format!("a server has {MOST_THREADS} at most");
            service.give_up("thread", &io::Error::new(io::ErrorKind::OutOfMemory, message));
            continue;
        }
        let serving = Arc::clone(service);
        let spawned = thread::Builder::new().spawn(move || serving.serve(stream, &peer));
        if let Err(error) = spawned {
            service.give_up("thread", &error);
        }
    }
}
