//! A fixed number of threads.

use std::io;
use std::num::NonZeroUsize;
use std::thread;

use polyloop::{Accepted, Address, Config, Protocol};

use crate::blocking::{one_after_another, Blocking};
use crate::BoundServer;

/// A server of `threads` threads, the calling one among them, each of which accepts for itself and
/// serves a connection to its end. When all are busy, the others wait in the backlog.
///
/// The threads are shared out among the addresses.
///
/// # Errors
///
/// Fewer threads than addresses, one of which would never be served.
pub(crate) fn bind<P, F>(
    addresses: &[Address],
    config: Config,
    threads: NonZeroUsize,
    factory: F,
) -> io::Result<BoundServer>
where
    P: Protocol + 'static,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    // A thread too many would take somebody out of the backlog and not serve him.
    let limit = config.max_connections.and_then(NonZeroUsize::new);
    let threads = limit.map_or(threads, |limit| threads.min(limit));
    if threads.get() < addresses.len() {
        let message =
            format!("pool: {} addresses need as many threads, not {threads}", addresses.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let blocking = Blocking::bind(addresses, config, factory)?;
    Ok(blocking.served_by(move |blocking| run(&blocking, threads)))
}

fn run<P, F>(blocking: &Blocking<F>, threads: NonZeroUsize) -> io::Result<()>
where
    P: Protocol,
    F: Fn(&Accepted<'_>) -> P + Send + Sync,
{
    let Blocking { service, entrances } = blocking;
    thread::scope(|scope| {
        for index in 1..threads.get() {
            let entrance = &entrances[index % entrances.len()];
            let worker = thread::Builder::new().name("polyloop pool".into());
            let started = worker.spawn_scoped(scope, move || one_after_another(service, entrance));
            if let Err(error) = started {
                // Those that were started are not left behind.
                service.handle().stop();
                let message = format!("pool: no {threads} threads: {error}; choose fewer");
                return Err(io::Error::new(error.kind(), message));
            }
        }
        one_after_another(service, &entrances[0]);
        Ok(())
    })?;
    service.wait_for_end();
    Ok(())
}
