//! The concurrency models that serve a [`Protocol`], and the one list of them.
//!
//! ```
//! use polyloop::{Config, Connection, Protocol};
//! use polyloop_models::Model;
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
//!         connection.send(input);
//!         input.len()
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! for &model in Model::ALL {
//!     let server = model.bind("127.0.0.1:0", Config::default(), |_peer| Echo)?;
//! #   server.handle().stop();
//!     server.run()?;
//! }
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod blocking;
#[cfg(unix)]
mod fork;
mod iterative;
mod options;
mod pool;
#[cfg(unix)]
mod process;
#[cfg(not(unix))]
#[path = "process_elsewhere.rs"]
mod process;
mod spin;
mod thread;

use std::fmt;
use std::io;
use std::str::FromStr;

use polyloop::{
    Address, Backend, Config, MioBackend, Peer, Protocol, Server, ServerHandle, ToAddresses,
};
use polyloop_select::PollBackend;

pub use options::Options;
pub use process::Attendant;

/// How one server holds many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Model {
    /// One connection at a time, on one thread that blocks.
    Iterative,
    /// Sockets that do not block, asked again and again without any multiplexer.
    Spin,
    /// One loop on mio: edge-triggered epoll, kqueue or AFD.
    Mio,
    /// One loop on poll(2), on Windows WSAPoll.
    Poll,
    /// A process for each connection, which blocks; Unix only.
    Process,
    /// A thread for each connection, which blocks.
    Thread,
    /// A fixed number of threads that block, each with a connection at a time.
    Pool,
}

impl Model {
    /// Every model, in the order in which tables show them.
    pub const ALL: &'static [Model] = &[
        Model::Iterative,
        Model::Spin,
        Model::Process,
        Model::Thread,
        Model::Pool,
        Model::Poll,
        Model::Mio,
    ];

    /// The name on the command line, in results and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Model::Iterative => "iterative",
            Model::Spin => "spin",
            Model::Process => "process",
            Model::Thread => "thread",
            Model::Pool => "pool",
            Model::Poll => "poll",
            Model::Mio => "mio",
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Model::Iterative => "one connection at a time, the others wait in the backlog",
            Model::Spin => "every socket asked again and again, without any multiplexer",
            Model::Process => "a process for each connection, which blocks",
            Model::Thread => "a thread for each connection, which blocks",
            Model::Pool => "a fixed number of threads, each with one connection at a time",
            Model::Poll => "one loop on poll(2), WSAPoll on Windows",
            Model::Mio => "one loop on mio: edge-triggered epoll, kqueue or AFD",
        }
    }

    /// Listens on `addresses`, ready to serve. `factory` makes the protocol of each connection. A
    /// [`Config`] alone will do for the options.
    ///
    /// # Errors
    ///
    /// An address can't be listened on, the model's mechanism can't be opened, or the options do not
    /// fit the model.
    pub fn bind<P, F>(
        self,
        addresses: impl ToAddresses,
        options: impl Into<Options>,
        factory: F,
    ) -> io::Result<BoundServer>
    where
        P: Protocol + 'static,
        F: Fn(&Peer) -> P + Send + Sync + 'static,
    {
        let Options { config, threads } = options.into();
        let addresses = &addresses.to_addresses()?[..];
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on"));
        }
        match self {
            Model::Iterative => iterative::bind(addresses, config, factory),
            Model::Spin => spin::bind(addresses, config, factory),
            Model::Process => process::bind(addresses, config, factory),
            Model::Thread => thread::bind(addresses, config, factory),
            Model::Pool => pool::bind(addresses, config, threads, factory),
            Model::Poll => on_loop(PollBackend::new()?, addresses, config, factory),
            Model::Mio => on_loop(MioBackend::new()?, addresses, config, factory),
        }
    }

    /// How many connections it serves at once with these options; `None` without a limit of its
    /// own.
    #[must_use]
    pub fn connections_at_once(self, options: &Options) -> Option<usize> {
        match self {
            Model::Iterative => Some(1),
            Model::Pool => Some(options.threads.get()),
            _ => None,
        }
    }

    /// Whether it forks, and so has to be the only thread of its process: who wants to look after
    /// something else there is an [`Attendant`].
    #[must_use]
    pub fn forks(self) -> bool {
        self == Model::Process
    }
}

fn on_loop<B, P, F>(
    backend: B,
    addresses: impl ToAddresses,
    config: Config,
    factory: F,
) -> io::Result<BoundServer>
where
    B: Backend + Send + 'static,
    P: Protocol + 'static,
    F: Fn(&Peer) -> P + Send + Sync + 'static,
{
    let server =
        Server::builder().listen(addresses).config(config).backend(backend).build(factory)?;
    Ok(BoundServer {
        addresses: server.addresses().to_vec(),
        handle: server.handle(),
        run: Box::new(move |_| server.run()),
    })
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownModel(String);

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
        write!(f, "there is no model {:?}; there are: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownModel {}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Model, UnknownModel> {
        let found = Model::ALL.iter().find(|model| model.name() == name);
        found.copied().ok_or_else(|| UnknownModel(name.to_owned()))
    }
}

/// A server of some model, which listens already.
pub struct BoundServer {
    addresses: Vec<Address>,
    handle: ServerHandle,
    run: Box<dyn FnOnce(Option<Attendant>) -> io::Result<()> + Send>,
}

impl BoundServer {
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
    /// What the model's mechanism says. What goes wrong with one connection ends that one only.
    pub fn run(self) -> io::Result<()> {
        (self.run)(None)
    }

    /// As [`run`](BoundServer::run), of a model that [forks](Model::forks), with somebody who looks
    /// after something else meanwhile. To the other models the attendant is a stranger, whom they
    /// never call: with them, that is what threads are for.
    ///
    /// # Errors
    ///
    /// As [`run`](BoundServer::run).
    pub fn run_with(self, attendant: Attendant) -> io::Result<()> {
        (self.run)(Some(attendant))
    }
}

impl fmt::Debug for BoundServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundServer").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_found_by_its_name() {
        for &model in Model::ALL {
            assert_eq!(model.name().parse(), Ok(model));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "fork".parse::<Model>().unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no model \"fork\"; there are: iterative, spin, process, thread, pool, poll, mio"
        );
    }
}
