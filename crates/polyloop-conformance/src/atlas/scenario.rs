//! What a scenario is, and the one list of them.

use std::io;

use super::stage::Stage;
use super::{
    files, linux, pipes, registrations, tcp, terminals, triggers, udp, unix_sockets, Call,
};

/// A situation, and how it is arranged.
pub struct Scenario {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// What the situation is, in a few words.
    pub what: &'static str,
    /// Why the kernel tells what it does, and what that means for a program.
    pub why: &'static str,
    /// Manual pages and standards that say so.
    pub see: &'static [&'static str],
    /// What kind of situation it is.
    pub group: Group,
    /// Arranges it; `None` on a system that has no such thing.
    pub(super) play: Option<Play>,
}

/// Arranges a situation on a stage.
pub(super) type Play = fn(&mut Stage<'_>) -> io::Result<()>;

impl Scenario {
    /// All scenarios, group by group, in the order in which tables show them.
    pub fn all() -> impl Iterator<Item = &'static Scenario> {
        let groups: [&[Scenario]; 9] = [
            tcp::SCENARIOS,
            udp::SCENARIOS,
            unix_sockets::SCENARIOS,
            pipes::SCENARIOS,
            files::SCENARIOS,
            terminals::SCENARIOS,
            linux::SCENARIOS,
            registrations::SCENARIOS,
            triggers::SCENARIOS,
        ];
        groups.into_iter().flatten()
    }

    /// Whether this system has what the scenario is about.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.play.is_some()
    }
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What kind of situation a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// TCP streams and listeners.
    Tcp,
    /// Datagrams.
    Udp,
    /// Sockets of the Unix domain.
    UnixSockets,
    /// Pipes, with and without a name.
    Pipes,
    /// Regular files, directories and devices.
    Files,
    /// Terminals.
    Terminals,
    /// Descriptors that only Linux has.
    Linux,
    /// Registering twice, for nothing, by a duplicate, and closing what is watched.
    Registrations,
    /// What is told again, and what only once: levels, edges, one shot.
    Triggers,
}

impl Group {
    /// A title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Group::Tcp => "TCP",
            Group::Udp => "UDP",
            Group::UnixSockets => "Unix sockets",
            Group::Pipes => "Pipes",
            Group::Files => "Files and devices",
            Group::Terminals => "Terminals",
            Group::Linux => "Linux only",
            Group::Registrations => "Registrations",
            Group::Triggers => "Levels and edges",
        }
    }

    /// Whether the kernel is asked with `call`. To ask once by one shot is to ask a level, so it
    /// is done where a scenario asks again.
    pub(super) fn asks(self, call: Call) -> bool {
        call != Call::EpollOneshot || self == Group::Triggers
    }
}

/// The way to play a scenario that needs what only some systems have.
macro_rules! only {
    (unix: $play:path) => {{
        #[cfg(unix)]
        {
            Some($play)
        }
        #[cfg(not(unix))]
        {
            None
        }
    }};
    (linux: $play:path) => {{
        #[cfg(target_os = "linux")]
        {
            Some($play)
        }
        #[cfg(not(target_os = "linux"))]
        {
            None
        }
    }};
}
pub(super) use only;
