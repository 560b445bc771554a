//! What a model is told besides the addresses and the protocol.

use std::num::NonZeroUsize;

use polyloop::Config;

/// How a model is to serve: the limits that all share, and what only some models know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Deadlines, water marks and limits.
    pub config: Config,
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
}

impl Default for Options {
    fn default() -> Options {
        Options { config: Config::default(), threads: Options::THREADS }
    }
}

impl From<Config> for Options {
    fn from(config: Config) -> Options {
        Options { config, ..Options::default() }
    }
}
