//! Where threads sleep in `accept`, and how they are woken.

use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::address::reachable;
use crate::{Address, Listener};

/// Whether the shutdown of a listening socket ends every `accept` on it. POSIX knows no such thing;
/// Apple's systems and Windows refuse it.
const SHUTDOWN_WAKES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A listening socket at which any number of threads [accept](super::Service::accept).
///
/// `accept` has no timeout and no waker. The shutdown of the listener wakes all who sleep there;
/// where a system knows no such thing, a connection wakes one, who wakes the next. The socket for
/// that is made beforehand: when it is needed, every descriptor may be taken.
#[derive(Debug)]
pub struct Entrance {
    address: Address,
    door: Mutex<Door>,
}

#[derive(Debug)]
struct Door {
    /// `None` once the server is to end. Who sleeps holds the listener as well; with the last of
    /// them it is closed.
    listener: Option<Arc<Listener>>,
    bell: Option<Socket>,
}

impl Entrance {
    pub(super) fn new(listener: Listener) -> io::Result<Entrance> {
        let address = listener.address().clone();
        let bell = if SHUTDOWN_WAKES { None } else { Some(bell(&address)?) };
        let listener = Some(Arc::new(listener));
        Ok(Entrance { address, door: Mutex::new(Door { listener, bell }) })
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        // Nothing in here panics while it is locked.
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The listener, until the server is to end.
    pub(super) fn listener(&self) -> Option<Arc<Listener>> {
        self.door().listener.clone()
    }

    /// Lets nobody in any more, and wakes those who sleep here, or one of them.
    pub(super) fn close(&self) {
        let Some(listener) = self.door().listener.take() else { return };
        if SHUTDOWN_WAKES {
            let shut = SockRef::from(listener.socket()).shutdown(Shutdown::Both);
            debug_assert!(shut.is_ok(), "{shut:?}");
        } else if let Err(error) = self.ring() {
            log::error!("who waits at {} could not be woken: {error}", self.address);
        }
    }

    /// A sleeper was woken and goes: the next one has to be woken. To be called before it lets go
    /// of the listener, since the address may be another's then.
    ///
    /// # Errors
    ///
    /// Somebody was quicker to take the descriptor that this sets free.
    pub(super) fn wake_next(&self) -> io::Result<()> {
        if SHUTDOWN_WAKES {
            return Ok(());
        }
        // A socket connects once.
        drop(self.door().bell.take());
        self.ring()
    }

    fn ring(&self) -> io::Result<()> {
        let mut door = self.door();
        let bell = door.bell.take().map_or_else(|| bell(&self.address), Ok)?;
        // A backlog that is full keeps nobody asleep: there is no need to wait for a place in it.
        bell.set_nonblocking(true)?;
        let _ = bell.connect(&door_of(&self.address)?);
        door.bell = Some(bell);
        Ok(())
    }
}

fn bell(address: &Address) -> io::Result<Socket> {
    let domain = address.ip().map_or(Domain::UNIX, Domain::for_address);
    Socket::new(domain, Type::STREAM, None)
}

/// What to connect to, of an address that is listened on.
fn door_of(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Ip(address) => Ok(reachable(*address).into()),
        Address::Unix(path) => SockAddr::unix(path),
    }
}
