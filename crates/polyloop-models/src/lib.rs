//! The concurrency models that serve a [`Protocol`]; the one list of them ([`Model`]), and the one
//! list of the backends that a loop can wait with ([`BackendKind`]).
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
#![forbid(unsafe_code)]

mod backends;
mod options;
mod thread;

use std::fmt;
use std::io;
use std::str::FromStr;

use polyloop::{
    Address, Backend, Config, MioBackend, Peer, Protocol, Server, ServerHandle, ToAddresses,
};
use polyloop_select::PollBackend;

pub use backends::{BackendKind, UnknownBackend, UseBackend};
pub use options::Options;
pub use thread::ThreadServer;

/// How one server holds many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Model {
    /// One loop on mio: edge-triggered epoll, kqueue or AFD.
    Mio,
    /// One loop on poll(2), on Windows WSAPoll.
    Poll,
    /// A thread for each connection, which blocks.
    Thread,
}

impl Model {
    /// Every model, in the order in which tables show them.
    pub const ALL: &'static [Model] = &[Model::Mio, Model::Poll, Model::Thread];

    /// The name on the command line, in results and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Model::Mio => "mio",
            Model::Poll => "poll",
            Model::Thread => "thread",
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Model::Mio => "one loop on mio: edge-triggered epoll, kqueue or AFD",
            Model::Poll => "one loop on poll(2), WSAPoll on Windows",
            Model::Thread => "a thread for each connection, which blocks",
        }
    }

    /// Listens on `addresses`, ready to serve. `factory` makes the protocol of each connection. A
    /// [`Config`] alone will do for the options.
    ///
    /// # Errors
    ///
    /// An address can't be listened on, or the model's mechanism can't be opened.
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
        let Options { config } = options.into();
        match self {
            Model::Mio => on_loop(MioBackend::new()?, addresses, config, factory),
            Model::Poll => on_loop(PollBackend::new()?, addresses, config, factory),
            Model::Thread => {
                let server = ThreadServer::bind(addresses, config, factory)?;
                Ok(BoundServer {
                    addresses: server.addresses().to_vec(),
                    handle: server.handle(),
                    run: Box::new(move || server.run()),
                })
            }
        }
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
        run: Box::new(move || server.run()),
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
    run: Box<dyn FnOnce() -> io::Result<()> + Send>,
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
        (self.run)()
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
        assert_eq!(message, "there is no model \"fork\"; there are: mio, poll, thread");
    }
}
