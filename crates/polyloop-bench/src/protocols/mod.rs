//! The protocols that are built in, for serving and measuring.
//!
//! | protocol | what it says | a message ends |
//! |---|---|---|
//! | [`Echo`] | what it hears, as it comes | nowhere: a stream has no edges |
//! | [`Line`] | each whole line | with a line feed |
//! | [`Frames`] | each whole frame | where the length before it says |
//! | [`Http`] | the target of each request | where HTTP/1.1 says |
//! | [`Work`] | each whole line, after some work | with a line feed |

mod echo;
mod frames;
mod http;
mod line;
mod work;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod properties;

pub use echo::Echo;
pub use frames::Frames;
pub use http::Http;
pub use line::Line;
pub use work::{Cost, Work};

use std::fmt;
use std::io;
use std::str::FromStr;

use polyloop::{Config, ToAddresses};
use polyloop_models::{BoundServer, Model, Options};
use serde::{Deserialize, Serialize};

/// A protocol that is built in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Builtin {
    /// [`Echo`].
    #[default]
    Echo,
    /// [`Line`].
    Line,
    /// [`Frames`].
    Frames,
    /// [`Http`].
    Http,
    /// [`Work`].
    Work,
}

impl Builtin {
    /// Every one of them, in the order in which help texts show them.
    pub const ALL: &'static [Builtin] =
        &[Builtin::Echo, Builtin::Line, Builtin::Frames, Builtin::Http, Builtin::Work];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Builtin::Echo => "echo",
            Builtin::Line => "line",
            Builtin::Frames => "frames",
            Builtin::Http => "http",
            Builtin::Work => "work",
        }
    }

    /// What it is, in a few words.
    pub fn summary(self) -> &'static str {
        match self {
            Builtin::Echo => "says back what it hears, as it comes",
            Builtin::Line => "says back each whole line; the line ## ends the connection",
            Builtin::Frames => "says back each frame: its length in 4 bytes, then so many bytes",
            Builtin::Http => "answers GET and HEAD with the target that was asked for (HTTP/1.1)",
            Builtin::Work => "as line, but each takes time: --work a processor's, --sleep none's",
        }
    }

    /// How long a request may be that its servers take, in bytes; `None` if there is no limit.
    pub fn longest(self) -> Option<usize> {
        match self {
            Builtin::Echo => None,
            // A byte less would do: the last one completes the line and is not kept.
            Builtin::Line | Builtin::Work => Some(Config::default().max_input),
            Builtin::Frames => Some(Frames::HEADER + Frames::LIMIT),
            Builtin::Http => Some(Http::MAX_HEAD),
        }
    }

    /// Listens on `addresses` with `model`, ready to serve this protocol. `cost` is what a request
    /// of [`Work`] takes; the others have no use for it.
    ///
    /// # Errors
    ///
    /// Those of [`Model::bind`].
    pub fn bind(
        self,
        model: Model,
        addresses: impl ToAddresses,
        options: Options,
        cost: Cost,
    ) -> io::Result<BoundServer> {
        // A server of its own for each, so that serving a request chooses nothing.
        match self {
            Builtin::Echo => model.bind(addresses, options, |_| Echo),
            Builtin::Line => model.bind(addresses, options, |_| Line::default()),
            Builtin::Frames => model.bind(addresses, options, |_| Frames),
            Builtin::Http => model.bind(addresses, options, |_| Http::default()),
            Builtin::Work => model.bind(addresses, options, move |_| Work::new(cost)),
        }
    }
}

impl fmt::Display for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no protocol has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProtocol(String);

impl fmt::Display for UnknownProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Builtin::ALL.iter().map(|protocol| protocol.name()).collect();
        write!(f, "there is no protocol {:?}; there are: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownProtocol {}

impl FromStr for Builtin {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Builtin, UnknownProtocol> {
        let found = Builtin::ALL.iter().find(|protocol| protocol.name() == name);
        found.copied().ok_or_else(|| UnknownProtocol(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_is_found_by_its_name() {
        for &protocol in Builtin::ALL {
            assert_eq!(protocol.name().parse(), Ok(protocol));
            assert_eq!(serde_json::to_string(&protocol).unwrap(), format!("\"{protocol}\""));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "gopher".parse::<Builtin>().unwrap_err().to_string();
        assert!(message.contains("there are: echo, line, frames, http, work"), "{message}");
    }
}
