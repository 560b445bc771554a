//! What a model is told besides the addresses and the protocol.

use polyloop::Config;

/// How a model is to serve: the limits that all share, and what only some models know.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Deadlines, water marks and limits.
    pub config: Config,
}

impl From<Config> for Options {
    fn from(config: Config) -> Options {
        Options { config }
    }
}
