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
//! for model in Model::here() {
//!     let server = model.bind("127.0.0.1:0", Config::default(), |_| Echo)?;
//! #   server.handle().stop();
//!     server.run()?;
//! }
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod backends;
mod blocking;
mod datagram;
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
    Accepted, Address, Backend, Config, MioBackend, Protocol, Server, ServerGroup, ServerHandle,
    ToAddresses, Trigger,
};
use polyloop_linux::{EpollBackend, UringServer};
use polyloop_select::{PollBackend, SelectBackend};

pub use backends::{BackendKind, UseBackend};
pub use options::{Options, Variant};
pub use process::Attendant;

/// How one server holds many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Model {
    /// One connection at a time, on one thread that blocks.
    Iterative,
    /// Sockets that do not block, asked again and again without any multiplexer.
    Spin,
    /// A process for each connection, which blocks. Connections share no memory: a handle, a lock,
    /// whatever the factory gives to each, is each one's own.
    ///
    /// # Portability
    ///
    /// Unix only, and only on the one thread of its process: on Linux `run` is `Unsupported` beside
    /// others, elsewhere the caller sees to it. While it runs it waits for *every* child of the
    /// process, and uses `SIGCHLD`, `SIGUSR1`, `SIGUSR2`, `SIGALRM` and `SIGURG`.
    Process,
    /// A thread for each connection, which blocks.
    Thread,
    /// A fixed number of threads that block, each with a connection at a time.
    Pool,
    /// One loop on select(2), within `FD_SETSIZE` unless [`Options::select_unlimited`] is set.
    Select,
    /// One loop on poll(2), on Windows WSAPoll.
    Poll,
    /// One loop on epoll, level-triggered unless [`Options::trigger`] says otherwise.
    Epoll,
    /// One loop on mio: edge-triggered epoll, kqueue or AFD.
    Mio,
    /// One loop on io_uring, by completions.
    Uring,
}

impl Model {
    /// Every model, in the order in which tables show them.
    pub const ALL: &'static [Model] = &[
        Model::Iterative,
        Model::Spin,
        Model::Process,
        Model::Thread,
        Model::Pool,
        Model::Select,
        Model::Poll,
        Model::Epoll,
        Model::Mio,
        Model::Uring,
    ];

    /// The models that this system has, in the same order.
    pub fn here() -> impl Iterator<Item = Model> {
        Model::ALL.iter().copied().filter(|model| model.check().is_ok())
    }

    /// The name on the command line, in results and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Model::Iterative => "iterative",
            Model::Spin => "spin",
            Model::Process => "process",
            Model::Thread => "thread",
            Model::Pool => "pool",
            Model::Select => "select",
            Model::Poll => "poll",
            Model::Epoll => "epoll",
            Model::Mio => "mio",
            Model::Uring => "uring",
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Model::Iterative => "one connection at a time, the others wait in the backlog",
            Model::Spin => "every socket asked again and again, without any multiplexer",
            Model::Process => "a process for each connection, which blocks; Unix only",
            Model::Thread => "a thread for each connection, which blocks",
            Model::Pool => "a fixed number of threads, each with one connection at a time",
            Model::Select => {
                "one loop on select(2), with room for FD_SETSIZE descriptors or for all"
            }
            Model::Poll => "one loop on poll(2), WSAPoll on Windows",
            Model::Epoll => "one loop on epoll, level-triggered or edge-triggered; Linux only",
            Model::Mio => "one loop on mio: edge-triggered epoll, kqueue or AFD",
            Model::Uring => "one loop on io_uring, by completions; Linux only",
        }
    }

    /// What may stand behind the name and a colon, see [`Variant`]; empty if nothing may.
    #[must_use]
    pub fn settings(self) -> &'static str {
        match self {
            Model::Process | Model::Thread => "",
            Model::Pool => "threads=8, batches",
            Model::Select => "unlimited, batches",
            Model::Epoll => "level, edge, loops=2, round-robin, least-loaded, reuse-port, batches",
            Model::Mio => "loops=2, round-robin, least-loaded, reuse-port, batches",
            Model::Uring => "loops=2, round-robin, least-loaded, reuse-port",
            Model::Iterative | Model::Spin | Model::Poll => "batches",
        }
    }

    /// Whether it can have several loops.
    #[must_use]
    pub fn has_loops(self) -> bool {
        matches!(self, Model::Epoll | Model::Mio | Model::Uring)
    }

    /// Looks whether this system has the model.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with what and why, if it has not; what the system says, if the model's
    /// mechanism can't be opened.
    pub fn check(self) -> io::Result<()> {
        match self {
            Model::Process => process::check(),
            Model::Epoll => EpollBackend::new(Trigger::Level).map(drop),
            Model::Uring => polyloop_linux::check_uring(),
            _ => Ok(()),
        }
    }

    /// Listens on `addresses`, ready to serve. `factory` makes the protocol of each connection. A
    /// [`Config`] alone will do for the options.
    ///
    /// # Errors
    ///
    /// An address does not resolve or can't be listened on, or the model's mechanism can't be opened:
    /// `Unsupported` if this system does not have it, or not for such an address. `InvalidInput` for
    /// no address, or more of them than the model has threads, and for what [`Options::check`] says.
    pub fn bind<P, F>(
        self,
        addresses: impl ToAddresses,
        options: impl Into<Options>,
        factory: F,
    ) -> io::Result<BoundServer>
    where
        P: Protocol + 'static,
        F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
    {
        let options = options.into();
        options.check(self)?;
        let Options { trigger, select_unlimited, threads, .. } = options;
        let addresses = &addresses.to_addresses()?[..];
        match self {
            Model::Iterative => iterative::bind(addresses, options.config, factory),
            Model::Spin => spin::bind(addresses, options.config, factory),
            Model::Process => process::bind(addresses, options.config, factory),
            Model::Thread => thread::bind(addresses, options.config, factory),
            Model::Pool => pool::bind(addresses, options.config, threads, factory),
            Model::Select if select_unlimited => {
                on_loop(SelectBackend::unlimited()?, addresses, options.config, factory)
            }
            Model::Select => on_loop(SelectBackend::new()?, addresses, options.config, factory),
            Model::Poll => on_loop(PollBackend::new()?, addresses, options.config, factory),
            Model::Epoll => on_loops(|| EpollBackend::new(trigger), addresses, &options, factory),
            Model::Mio => on_loops(MioBackend::new, addresses, &options, factory),
            Model::Uring if options.loops.get() > 1 => {
                let Options { config, loops, accept, .. } = options;
                let server =
                    UringServer::bind_loops(addresses, config, loops.get(), accept, factory)?;
                Ok(several(server))
            }
            Model::Uring => {
                let server = UringServer::bind(addresses, options.config, factory)?;
                let (addresses, handle) = (server.addresses().to_vec(), server.handle());
                Ok(BoundServer::new(addresses, handle, move || server.run()))
            }
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
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    let server =
        Server::builder().listen(addresses).config(config).backend(backend).build(factory)?;
    let (addresses, handle) = (server.addresses().to_vec(), server.handle());
    Ok(BoundServer::new(addresses, handle, move || server.run()))
}

/// One loop, or several.
fn on_loops<B, P, F>(
    mut backend: impl FnMut() -> io::Result<B>,
    addresses: &[Address],
    options: &Options,
    factory: F,
) -> io::Result<BoundServer>
where
    B: Backend + Send + 'static,
    P: Protocol + 'static,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    let config = options.config.clone();
    let loops = options.loops.get();
    if loops == 1 {
        return on_loop(backend()?, addresses, config, factory);
    }
    let server = Server::builder().listen(addresses).config(config);
    Ok(several(server.build_loops(loops, options.accept, backend, factory)?))
}

/// A server with several loops.
fn several(server: ServerGroup) -> BoundServer {
    let (addresses, handle) = (server.addresses().to_vec(), server.handle());
    BoundServer::new(addresses, handle, move || server.run())
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A model, a setting or a backend that does not exist, or a number that a setting can't have, and
/// what there is instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(String);

impl Unknown {
    fn model(name: &str) -> Unknown {
        let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
        Unknown(format!("there is no model {name:?}; there are: {}", names.join(", ")))
    }

    fn backend(name: &str) -> Unknown {
        let names: Vec<_> = BackendKind::ALL.iter().map(|backend| backend.name()).collect();
        Unknown(format!("there is no backend {name:?}; there are: {}", names.join(", ")))
    }

    fn setting(model: Model, setting: &str) -> Unknown {
        Unknown(match model.settings() {
            "" => format!("{model} has no setting {setting:?}, and no other"),
            known => format!("{model} has no setting {setting:?}; it has: {known}"),
        })
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unknown {}

impl FromStr for Model {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Model, Unknown> {
        let found = Model::ALL.iter().find(|model| model.name() == name);
        found.copied().ok_or_else(|| Unknown::model(name))
    }
}

/// A server of some model, which listens already.
pub struct BoundServer {
    addresses: Vec<Address>,
    handle: ServerHandle,
    run: Box<dyn FnOnce(Option<Attendant>) -> io::Result<()> + Send>,
}

impl BoundServer {
    /// A server that has no use for an [`Attendant`].
    fn new(
        addresses: Vec<Address>,
        handle: ServerHandle,
        run: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> BoundServer {
        let run = move |attendant: Option<Attendant>| match attendant {
            None => run(),
            Some(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an attendant is for a model that forks; with others a thread does what it would",
            )),
        };
        BoundServer { addresses, handle, run: Box::new(run) }
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
    /// What the model's mechanism says; `Unsupported` from [`Model::Process`] beside other threads.
    /// What goes wrong with one connection ends that one only.
    ///
    /// # Panics
    ///
    /// On a model with loops, if a protocol does: see [`Protocol`].
    pub fn run(self) -> io::Result<()> {
        (self.run)(None)
    }

    /// As [`run`](BoundServer::run), of a model that [forks](Model::forks), with somebody who looks
    /// after something else meanwhile.
    ///
    /// # Errors
    ///
    /// As [`run`](BoundServer::run); `InvalidInput` from a model that does not fork, which serves
    /// nobody then: with those, that is what threads are for.
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
        assert!(
            message.starts_with("there is no model \"fork\"; there are: iterative, "),
            "{message}"
        );
        assert!(Model::ALL.iter().all(|model| message.contains(model.name())), "{message}");
    }

    #[test]
    fn a_setting_is_one_of_its_model() {
        let unknown = |text: &str| text.parse::<Variant>().unwrap_err().to_string();
        let epoll = unknown("epoll:both");
        assert!(
            epoll.starts_with("epoll has no setting \"both\"; it has: level, edge,"),
            "{epoll}"
        );
        assert_eq!(unknown("thread:edge"), "thread has no setting \"edge\", and no other");
        assert!(unknown("pool:threads=0").contains("it has: threads=8"));
        assert!(unknown("fork:edge").contains("there is no model \"fork\""));
    }

    #[test]
    fn what_is_said_to_be_a_setting_is_one() {
        for &model in Model::ALL {
            for setting in model.settings().split(", ").filter(|setting| !setting.is_empty()) {
                let text = format!("{model}:{setting}");
                assert_eq!(text.parse::<Variant>().unwrap().to_string(), text);
            }
        }
    }

    struct Silent;

    impl Protocol for Silent {
        fn received(&mut self, _: &mut polyloop::Connection<'_>, input: &[u8]) -> usize {
            input.len()
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_attendant_that_nobody_would_call_is_refused() {
        for model in Model::here().filter(|model| !model.forks()) {
            let server = model.bind("127.0.0.1:0", Config::default(), |_| Silent).unwrap();
            let attendant = Attendant::of_stdin(|| std::ops::ControlFlow::Break(())).unwrap();
            let error = server.run_with(attendant).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{model}");
        }
    }

    #[test]
    fn a_model_that_this_system_has_can_be_bound_and_no_other() {
        for &model in Model::ALL {
            let bound = model.bind("127.0.0.1:0", Config::default(), |_| Silent);
            match model.check() {
                Ok(()) => drop(bound.unwrap()),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                    assert_eq!(bound.unwrap_err().to_string(), error.to_string());
                    assert!(error.to_string().starts_with(model.name()), "{error}");
                }
            }
        }
    }

    /// Tests leave out the models that a system lacks: who counts on one names it.
    #[test]
    fn models_that_are_counted_on_are_here() {
        let required = std::env::var("POLYLOOP_REQUIRE").unwrap_or_default();
        for name in required.split(',').filter(|name| !name.is_empty()) {
            let model = name.parse::<Variant>().unwrap().model();
            if let Err(missing) = model.check() {
                panic!("POLYLOOP_REQUIRE={required}, and {missing}");
            }
        }
    }
}
