//! A server on `io_uring`: it is not told what it could do, it asks for things to be done and is
//! told when they are.
//!
//! What a request costs is two entries in shared memory, the receive's completion and the send; one
//! system call hands over all sends of a turn and fetches what has come meanwhile. In the kernel:
//!
//! | asked for | how often | what it spares |
//! |---|---|---|
//! | a *multishot* accept | once | a request a connection. Within a limit of connections, one at a time |
//! | a *multishot* receive into *provided buffers* | once a connection | a request a message, and a buffer for each idle connection: the kernel takes one of a few when input has come, and it is given back when the protocol has seen it |
//! | a send | each answer | a wait for room: what does not fit at once is sent when it does |
//!
//! The ring belongs to one thread (`SINGLE_ISSUER`), and completions are made in the call that
//! waits for them (`DEFER_TASKRUN`, Linux 6.1) rather than between any two instructions of it.
//!
//! Pausing cancels the receive. What had completed by then is kept, and shown first afterwards.

mod accept;
mod driver;
mod link;
#[allow(unsafe_code)]
mod ring;
mod socket;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::io;
use std::iter;
use std::sync::Arc;

use polyloop::driver::{Mailbox, Message, Place, Remotes};
use polyloop::{
    listen_all, AcceptPolicy, Accepted, Address, Config, Listener, Protocol, ServerGroup,
    ServerHandle, ToAddresses,
};
use rustix::io::Errno;

use accept::Listeners;
use driver::Driver;
use ring::Ring;

use crate::wake::WakeUp;

/// A server of stream sockets, TCP and Unix-domain: one [`Protocol`] for each connection, all on one
/// `io_uring`.
///
/// It does what [`Server`](polyloop::Server) does, for whoever connects and for whoever writes a
/// protocol. [`Config::accept_budget`] it leaves to the kernel.
///
/// ```no_run
/// use polyloop::{Config, Connection, Protocol};
/// use polyloop_linux::UringServer;
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
///         connection.send(input);
///         input.len()
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// UringServer::bind("127.0.0.1:7000", Config::default(), |_| Echo)?.run()
/// # }
/// ```
///
/// # Portability
///
/// Linux 6.0 and later, unless a policy forbids `io_uring`: many containers do.
pub struct UringServer<F> {
    addresses: Vec<Address>,
    handle: ServerHandle,
    opened: Opened,
    remotes: Arc<Remotes>,
    listeners: Vec<Listener>,
    config: Config,
    factory: F,
}

/// A loop that does not know yet what it serves.
struct Opened {
    ring: Ring,
    mailbox: Mailbox<Message>,
    wake_up: WakeUp,
}

impl Opened {
    fn new() -> io::Result<(Opened, Arc<Remotes>)> {
        let ring = open_ring()?;
        let wake_up = WakeUp::new()?;
        let mailbox = Mailbox::new(wake_up.waker());
        let remotes = Remotes::new(mailbox.sender(), Arc::default());
        Ok((Opened { ring, mailbox, wake_up }, remotes))
    }
}

impl<F> UringServer<F> {
    /// Opens a ring and listens on `addresses`. `factory` makes the protocol of each connection.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with the reason, if the kernel has no `io_uring`, not all that is needed of
    /// it, or forbids it; what the system says if it has too little locked memory for a ring. No
    /// address was given, one does not resolve or can't be listened on; what [`Config::check`] says.
    pub fn bind<P: Protocol>(
        addresses: impl ToAddresses,
        config: Config,
        factory: F,
    ) -> io::Result<UringServer<F>>
    where
        F: Fn(&Accepted<'_>) -> P,
    {
        let addresses = addresses.to_addresses()?;
        config.check()?;
        let (opened, remotes) = Opened::new()?;
        let listeners = listen_all(&addresses, config.backlog)?;
        let addresses = listeners.iter().map(|listener| listener.address().clone()).collect();
        let handle = ServerHandle::new(Arc::clone(&remotes) as _);
        Ok(UringServer { addresses, handle, opened, remotes, listeners, config, factory })
    }

    /// As [`bind`](UringServer::bind), with so many loops, each with a ring and a thread of its own.
    ///
    /// The limit of connections is that of all loops together.
    ///
    /// # Errors
    ///
    /// As there; `InvalidInput` for no loop at all; `Unsupported` where an address can't be shared
    /// as the [`AcceptPolicy`] has it.
    pub fn bind_loops<P: Protocol + 'static>(
        addresses: impl ToAddresses,
        config: Config,
        loops: usize,
        policy: AcceptPolicy,
        factory: F,
    ) -> io::Result<ServerGroup>
    where
        F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
    {
        let addresses = addresses.to_addresses()?;
        config.check()?;
        let opened = iter::repeat_with(Opened::new).take(loops).collect::<io::Result<Vec<_>>>()?;
        let factory = Arc::new(factory);
        ServerGroup::new(addresses, &config, policy, opened, |place| {
            let Place { opened, remotes, listeners, seat } = place;
            let listeners = Listeners::new(listeners, Some(seat));
            let (config, factory) = (config.clone(), Arc::clone(&factory));
            let make = move |accepted: &Accepted<'_>| factory(accepted);
            Ok(Box::new(move || Driver::new(opened, remotes, listeners, config, make).run()))
        })
    }

    /// Where it listens, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Makes a handle, with which any thread ends the server and sees what it counts.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves until a [`ServerHandle`] ends it.
    ///
    /// # Errors
    ///
    /// What the ring says. What goes wrong with one connection ends that connection only.
    ///
    /// # Panics
    ///
    /// If a protocol does: see [`Protocol`].
    pub fn run<P: Protocol>(self) -> io::Result<()>
    where
        F: Fn(&Accepted<'_>) -> P,
    {
        let UringServer { opened, remotes, listeners, config, factory, .. } = self;
        Driver::new(opened, remotes, Listeners::new(listeners, None), config, factory).run()
    }
}

impl<F> fmt::Debug for UringServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringServer").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Looks whether this system has what a [`UringServer`] needs.
///
/// # Errors
///
/// `Unsupported`, with the reason, if it has not; what the system says if it has, and too little
/// locked memory for it, for instance.
pub fn check_uring() -> io::Result<()> {
    open_ring().map(drop)
}

fn open_ring() -> io::Result<Ring> {
    Ring::new().map_err(|error| explain(&error, forbidden()))
}

/// What the administrator says: 0 lets everybody use it, 1 only a group, 2 nobody.
///
/// [`kernel.io_uring_disabled`](https://docs.kernel.org/admin-guide/sysctl/kernel.html#io-uring-disabled)
fn forbidden() -> Option<u8> {
    let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    setting.trim().parse().ok().filter(|&setting| setting != 0)
}

/// Why there is no ring, and what to do.
fn explain(error: &io::Error, forbidden: Option<u8>) -> io::Error {
    let reason = match (Errno::from_io_error(error), forbidden) {
        (Some(Errno::NOSYS), _) => {
            "this kernel has no io_uring: it needs Linux 6.0 or later".to_owned()
        }
        (Some(Errno::PERM | Errno::ACCESS), Some(setting)) => {
            format!("io_uring is forbidden here: kernel.io_uring_disabled is {setting}, not 0")
        }
        (Some(Errno::PERM | Errno::ACCESS), None) => {
            "io_uring is forbidden here by a seccomp or security policy, as in many containers"
                .to_owned()
        }
        (Some(Errno::INVAL), _) => {
            "this kernel's io_uring lacks multishot receives: it needs Linux 6.0 or later"
                .to_owned()
        }
        (Some(Errno::NOMEM), _) => {
            let advice = "raise the limit of locked memory (ulimit -l)";
            return io::Error::new(error.kind(), format!("uring: {error}; {advice}"));
        }
        _ => return io::Error::new(error.kind(), format!("uring: no ring can be opened: {error}")),
    };
    io::Error::new(io::ErrorKind::Unsupported, format!("uring: {reason}"))
}
