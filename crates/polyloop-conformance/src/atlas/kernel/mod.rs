//! What the kernel says when it is asked directly.

#[cfg(target_os = "linux")]
mod epoll;
mod poll;
#[cfg(unix)]
mod select;

use std::fmt;
use std::io;

use polyloop_models::BackendKind;

use super::stage::Watcher;
use super::Answer;

/// A system call that asks for readiness, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// select(2): three sets.
    Select,
    /// poll(2), on Windows WSAPoll.
    Poll,
    /// epoll, level-triggered.
    Epoll,
    /// epoll with `EPOLLET`.
    EpollEdge,
    /// epoll with `EPOLLONESHOT`.
    EpollOneshot,
}

impl Call {
    /// The calls that this system has, and that can be made from Rust without unsafe code.
    pub fn of_this_system() -> impl Iterator<Item = Call> {
        use Call::{Epoll, EpollEdge, EpollOneshot, Poll, Select};
        [Select, Poll, Epoll, EpollEdge, EpollOneshot].into_iter().filter(|call| match call {
            Call::Select => cfg!(unix),
            Call::Poll => true,
            Call::Epoll | Call::EpollEdge | Call::EpollOneshot => cfg!(target_os = "linux"),
        })
    }

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Call::Select => "select",
            Call::Poll => "poll",
            Call::Epoll => "epoll",
            Call::EpollEdge => "epoll:edge",
            Call::EpollOneshot => "epoll:oneshot",
        }
    }

    /// Whether it is what a backend calls, or, for one shot, could call.
    pub(super) fn is_beneath(self, backend: BackendKind) -> bool {
        match backend {
            BackendKind::Select => self == Call::Select,
            BackendKind::Poll => self == Call::Poll,
            BackendKind::Epoll => matches!(self, Call::Epoll | Call::EpollOneshot),
            BackendKind::EpollEdge | BackendKind::Mio => {
                matches!(self, Call::EpollEdge | Call::EpollOneshot)
            }
            _ => self.name() == backend.name(),
        }
    }

    /// Somebody who asks with it.
    pub(super) fn watcher(self) -> io::Result<Box<dyn Watcher>> {
        Ok(match self {
            Call::Poll => Box::new(poll::Poll::default()),
            #[cfg(unix)]
            Call::Select => Box::new(select::Select::default()),
            #[cfg(target_os = "linux")]
            Call::Epoll => Box::new(epoll::Epoll::new(epoll::EventFlags::empty())?),
            #[cfg(target_os = "linux")]
            Call::EpollEdge => Box::new(epoll::Epoll::new(epoll::EventFlags::ET)?),
            #[cfg(target_os = "linux")]
            Call::EpollOneshot => Box::new(epoll::Epoll::new(epoll::EventFlags::ONESHOT)?),
            #[allow(unreachable_patterns)]
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The names of those flags that are set.
fn names<F: Copy>(flags: &[(F, &'static str)], is_set: impl Fn(F) -> bool) -> Answer {
    Answer::Told(flags.iter().filter(|(flag, _)| is_set(*flag)).map(|&(_, name)| name).collect())
}

/// The error's name, such as `EPERM`.
#[cfg(unix)]
fn refusal(error: rustix::io::Errno) -> Answer {
    let name = nix::errno::Errno::from_raw(error.raw_os_error());
    Answer::Refused { refused: format!("{name:?}") }
}
#[cfg(not(unix))]
fn refusal(error: rustix::io::Errno) -> Answer {
    Answer::Refused { refused: format!("{error:?}") }
}
