//! The one list of backends: what a loop can wait with.

use std::fmt;
use std::io;
use std::str::FromStr;

use polyloop::{Backend, MioBackend, Trigger};
use polyloop_linux::EpollBackend;
use polyloop_select::{PollBackend, SelectBackend};

use crate::Unknown;

/// Which [`Backend`].
///
/// A backend's type is a parameter of whatever runs on it, so a list of backends is a list of
/// names. [`BackendKind::with`] leads from a name to the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// select(2), with room for `FD_SETSIZE` descriptors.
    Select,
    /// poll(2), on Windows WSAPoll.
    Poll,
    /// epoll, level-triggered.
    Epoll,
    /// epoll, edge-triggered.
    EpollEdge,
    /// mio: edge-triggered epoll, kqueue or AFD.
    Mio,
}

/// Something that runs on any backend: what a generic closure would be.
pub trait UseBackend {
    /// What comes of it.
    type Output;

    /// Runs on the backend that `open` opens. Where the system has no such backend, `open` fails
    /// with `Unsupported`, and says which system has.
    fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) -> Self::Output;
}

impl BackendKind {
    /// Every backend, in the order in which tables show them.
    pub const ALL: &'static [BackendKind] = &[
        BackendKind::Select,
        BackendKind::Poll,
        BackendKind::Epoll,
        BackendKind::EpollEdge,
        BackendKind::Mio,
    ];

    /// The name on the command line, in results and in tables: the backend's own, with its setting
    /// behind a colon as a [`Variant`](crate::Variant) has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Select => "select",
            BackendKind::Poll => "poll",
            BackendKind::Epoll => "epoll",
            BackendKind::EpollEdge => "epoll:edge",
            BackendKind::Mio => "mio",
        }
    }

    /// Runs `user` on the backend of this kind.
    pub fn with<U: UseBackend>(self, user: U) -> U::Output {
        match self {
            BackendKind::Select => user.run(SelectBackend::new),
            BackendKind::Poll => user.run(PollBackend::new),
            BackendKind::Epoll => user.run(|| EpollBackend::new(Trigger::Level)),
            BackendKind::EpollEdge => user.run(|| EpollBackend::new(Trigger::Edge)),
            BackendKind::Mio => user.run(MioBackend::new),
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<BackendKind, Unknown> {
        let found = BackendKind::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or_else(|| Unknown::backend(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Name;

    impl UseBackend for Name {
        type Output = io::Result<&'static str>;

        fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) -> Self::Output {
            open().map(|backend| backend.name())
        }
    }

    #[test]
    fn every_backend_is_found_by_the_name_that_it_gives_itself() {
        for &kind in BackendKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            match kind.with(Name) {
                Ok(name) => assert_eq!(kind.name().split(':').next(), Some(name)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "uring".parse::<BackendKind>().unwrap_err().to_string();
        assert!(
            message.starts_with("there is no backend \"uring\"; there are: select,"),
            "{message}"
        );
    }
}
