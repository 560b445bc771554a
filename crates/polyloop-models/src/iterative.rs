//! One connection at a time.

use std::io;

use polyloop::{Accepted, Address, Config, Protocol};

use crate::blocking::{one_after_another, Blocking};
use crate::BoundServer;

/// A server that serves one connection to its end before it accepts the next; the others wait in
/// the backlog, however little the first has to say.
///
/// # Errors
///
/// More than one address: whoever sleeps in `accept` at one of them hears nobody at the others.
pub(crate) fn bind<P, F>(
    addresses: &[Address],
    config: Config,
    factory: F,
) -> io::Result<BoundServer>
where
    P: Protocol + 'static,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    let [_] = addresses else {
        let message = format!("iterative: waits at one address, not at {}", addresses.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    };
    let blocking = Blocking::bind(addresses, config, factory)?;
    Ok(blocking.served_by(|Blocking { service, entrances }| {
        one_after_another(&service, &entrances[0]);
        service.wait_for_end();
        Ok(())
    }))
}
