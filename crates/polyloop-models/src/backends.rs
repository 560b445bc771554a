//! The one list of backends: what a loop can wait with.

use std::fmt;
use std::io;
use std::str::FromStr;

use polyloop::{Backend, MioBackend};
use polyloop_select::PollBackend;

/// Which [`Backend`].
///
/// A backend's type is a parameter of whatever runs on it, so a list of backends is a list of
/// names. [`BackendKind::with`] leads from a name to the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// poll(2), on Windows WSAPoll.
    Poll,
    /// mio: edge-triggered epoll, kqueue or AFD.
    Mio,
}

/// Something that runs on any backend: what a generic closure would be.
pub trait UseBackend {
    /// What comes of it.
    type Output;

    /// Runs on the backend that `open` opens.
    fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) -> Self::Output;
}

impl BackendKind {
    /// Every backend, in the order in which tables show them.
    pub const ALL: &'static [BackendKind] = &[BackendKind::Poll, BackendKind::Mio];

    /// The name on the command line, in results and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Poll => "poll",
            BackendKind::Mio => "mio",
        }
    }

    /// Runs `user` on the backend of this kind.
    ///
    /// # Errors
    ///
    /// `Unsupported` if this system has no such backend; the message says which has.
    pub fn with<U: UseBackend>(self, user: U) -> io::Result<U::Output> {
        match self {
            BackendKind::Poll => Ok(user.run(PollBackend::new)),
            BackendKind::Mio => Ok(user.run(MioBackend::new)),
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no backend has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBackend(String);

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = BackendKind::ALL.iter().map(|kind| kind.name()).collect();
        write!(f, "there is no backend {:?}; there are: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownBackend {}

impl FromStr for BackendKind {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<BackendKind, UnknownBackend> {
        let found = BackendKind::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Name;

    impl UseBackend for Name {
        type Output = &'static str;

        fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) -> &'static str {
            open().expect("the backend opens").name()
        }
    }

    #[test]
    fn every_backend_is_found_by_the_name_that_it_gives_itself() {
        for &kind in BackendKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            match kind.with(Name) {
                Ok(name) => assert_eq!(name, kind.name()),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "uring".parse::<BackendKind>().unwrap_err().to_string();
        assert_eq!(message, "there is no backend \"uring\"; there are: poll, mio");
    }
}
