//! What a model is told besides the addresses and the protocol.

use std::fmt;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;

use polyloop::blocking::MOST_THREADS;
use polyloop::{AcceptPolicy, Config, Trigger};

use crate::{Model, Unknown};

/// How a model is to serve: the limits that all share, and what only some models know, which the
/// others refuse.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Deadlines, water marks and limits.
    pub config: Config,
    /// Models that serve datagrams: receive and send several at a call, where the system has such
    /// calls: on Linux. Otherwise one at a call, with `recvfrom` and `sendto`.
    pub batches: bool,
    /// `epoll`: how the kernel tells readiness; on levels by default.
    pub trigger: Trigger,
    /// `select`: sets as large as they have to be, instead of room for `FD_SETSIZE` descriptors.
    pub select_unlimited: bool,
    /// How many loops there are, each on a thread of its own, for the models that can have several.
    /// One by default.
    pub loops: NonZeroUsize,
    /// Which of several loops takes a connection.
    pub accept: AcceptPolicy,
    /// `pool`: how many threads there are. Eight by default.
    pub threads: NonZeroUsize,
}

impl Options {
    /// So many threads, if nobody says otherwise: few enough to see what happens when there are
    /// more connections.
    pub const THREADS: NonZeroUsize = match NonZeroUsize::new(8) {
        Some(threads) => threads,
        None => unreachable!(),
    };

    /// The most loops that a setting may ask for: more than any machine has processors.
    pub const MOST_LOOPS: u32 = 1024;

    /// The most threads that a setting may ask for: as many as a [server](MOST_THREADS) has.
    pub const MOST_THREADS: u32 = MOST_THREADS as u32;
}

impl Options {
    /// Refuses what `model` can't serve streams with. [`Model::bind`] does so before it opens
    /// anything.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an option that the model does not know, or that means nothing beside the
    /// others; for more than [`MOST_THREADS`](Options::MOST_THREADS) or
    /// [`MOST_LOOPS`](Options::MOST_LOOPS); what [`Config::check`] says.
    pub fn check(&self, model: Model) -> io::Result<()> {
        self.check_of_any_transport(model)?;
        if self.batches {
            return Err(invalid(format!("{model}: batches are of datagrams, streams have none")));
        }
        Ok(())
    }

    /// As [`check`](Options::check), for datagrams and [`Model::bind_datagram`].
    ///
    /// # Errors
    ///
    /// As there; `Unsupported`, with the reason, if the model can't serve datagrams, or not with
    /// several loops.
    pub fn check_datagrams(&self, model: Model) -> io::Result<()> {
        model.serves_datagrams()?;
        self.check_of_any_transport(model)?;
        if self.loops.get() > 1 {
            let message = format!("{model}: one loop serves datagrams, not {}", self.loops);
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        Ok(())
    }

    fn check_of_any_transport(&self, model: Model) -> io::Result<()> {
        let bounds = [
            ("threads", self.threads, Options::MOST_THREADS),
            ("loops", self.loops, Options::MOST_LOOPS),
        ];
        for (what, number, most) in bounds {
            if number.get() > most as usize {
                return Err(invalid(format!("{number} {what}: a server has {most} at most")));
            }
        }
        for setting in self.settings() {
            Options::default().set(model, &setting).map_err(invalid)?;
        }
        if self.loops.get() == 1 && self.accept != AcceptPolicy::default() {
            let message = format!("{model}: one loop takes every connection; say loops=2 or more");
            return Err(invalid(message));
        }
        self.config.check()
    }

    /// What is not as by default, as [`set`](Options::set) takes it.
    fn settings(&self) -> Vec<String> {
        let Options { config: _, batches, trigger, select_unlimited, loops, accept, threads } =
            self;
        let accept = match accept {
            AcceptPolicy::RoundRobin => "round-robin",
            AcceptPolicy::LeastLoaded => "least-loaded",
            AcceptPolicy::ReusePort => "reuse-port",
        };
        let default = Options::default();
        let settings = [
            (*batches, "batches".to_owned()),
            (*trigger == Trigger::Edge, "edge".to_owned()),
            (*select_unlimited, "unlimited".to_owned()),
            (*loops != default.loops, format!("loops={loops}")),
            (self.accept != default.accept, accept.to_owned()),
            (*threads != default.threads, format!("threads={threads}")),
        ];
        settings.into_iter().filter_map(|(given, setting)| given.then_some(setting)).collect()
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

impl Default for Options {
    fn default() -> Options {
        Options {
            config: Config::default(),
            batches: false,
            trigger: Trigger::default(),
            select_unlimited: false,
            loops: NonZeroUsize::MIN,
            accept: AcceptPolicy::default(),
            threads: Options::THREADS,
        }
    }
}

impl From<Config> for Options {
    fn from(config: Config) -> Options {
        Options { config, ..Options::default() }
    }
}

impl Options {
    /// Changes one setting of `model`, as it is written behind the model's name.
    ///
    /// # Errors
    ///
    /// The model knows no such setting, or its number is not from 1 to
    /// [`MOST_LOOPS`](Options::MOST_LOOPS) or [`MOST_THREADS`](Options::MOST_THREADS).
    pub fn set(&mut self, model: Model, setting: &str) -> Result<(), Unknown> {
        let unknown = || Unknown::setting(model, setting);
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let number = |most: u32| {
            let parsed = value.parse().ok().filter(|number: &NonZeroU32| number.get() <= most);
            let number = parsed.and_then(|number| NonZeroUsize::try_from(number).ok());
            number.ok_or_else(|| Unknown(format!("{}; {name} in 1..={most}", unknown())))
        };
        match (model, name) {
            (_, "loops") if model.has_loops() => self.loops = number(Options::MOST_LOOPS)?,
            (Model::Pool, "threads") => self.threads = number(Options::MOST_THREADS)?,
            _ if name != setting => return Err(unknown()), // a value where there is none
            (_, "round-robin") if model.has_loops() => self.accept = AcceptPolicy::RoundRobin,
            (_, "least-loaded") if model.has_loops() => self.accept = AcceptPolicy::LeastLoaded,
            (_, "reuse-port") if model.has_loops() => self.accept = AcceptPolicy::ReusePort,
            (Model::Select, "unlimited") => self.select_unlimited = true,
            (Model::Epoll, "level") => self.trigger = Trigger::Level,
            (Model::Epoll, "edge") => self.trigger = Trigger::Edge,
            (model, "batches") if model.serves_datagrams().is_ok() => self.batches = true,
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

/// A model as it is named on the command line, with settings of its own behind colons: `epoll`,
/// `epoll:edge`.
///
/// ```
/// use polyloop::{Config, Trigger};
/// use polyloop_models::{Model, Variant};
///
/// let variant: Variant = "epoll:edge".parse()?;
/// assert_eq!(variant.model(), Model::Epoll);
/// assert_eq!(variant.options(Config::default()).trigger, Trigger::Edge);
/// assert_eq!(variant.to_string(), "epoll:edge");
/// # Ok::<(), polyloop_models::Unknown>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    model: Model,
    settings: Vec<String>,
}

impl Variant {
    /// The model.
    #[must_use]
    pub fn model(&self) -> Model {
        self.model
    }

    /// Adds a setting in front of those that it has: where two contradict each other, its own one
    /// stands.
    ///
    /// # Errors
    ///
    /// As for [`Options::set`].
    pub fn add(&mut self, setting: &str) -> Result<(), Unknown> {
        Options::default().set(self.model, setting)?;
        self.settings.insert(0, setting.to_owned());
        Ok(())
    }

    /// What the settings make of the options.
    #[must_use]
    pub fn options(&self, config: Config) -> Options {
        let mut options = Options::from(config);
        for setting in &self.settings {
            options.set(self.model, setting).expect("a setting was tried before it was added");
        }
        options
    }
}

impl From<Model> for Variant {
    fn from(model: Model) -> Variant {
        Variant { model, settings: Vec::new() }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model)?;
        self.settings.iter().try_for_each(|setting| write!(f, ":{setting}"))
    }
}

impl FromStr for Variant {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Variant, Unknown> {
        let (model, settings) =
            text.split_once(':').map_or((text, None), |(model, settings)| (model, Some(settings)));
        let mut variant = Variant::from(model.parse::<Model>()?);
        for setting in settings.into_iter().flat_map(|settings| settings.rsplit(':')) {
            variant.add(setting)?;
        }
        Ok(variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_bounds_that_the_error_names() {
        for (setting, most) in [("mio:loops", 1_024), ("pool:threads", 16_000)] {
            let parse = |number: &str| format!("{setting}={number}").parse::<Variant>();
            assert!(parse("1").is_ok() && parse(&most.to_string()).is_ok(), "{setting}");
            for wrong in
                ["0", &(most + 1).to_string(), "4294967295", "18446744073709551615", "", "x"]
            {
                let error = parse(wrong).unwrap_err().to_string();
                assert!(error.ends_with(&format!(" in 1..={most}")), "{setting}={wrong}: {error}");
            }
        }
    }
}
