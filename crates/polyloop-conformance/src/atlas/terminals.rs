//! Terminals, as a pair of a terminal and the side that a terminal emulator holds.

use super::scenario::{only, Group, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "terminal",
        what: "a terminal, nothing was typed",
        why: "Output to a terminal can be written, input is not there. Setting a terminal \
              non-blocking sets the open file, which the shell that started the program shares.",
        see: &["tty(4)", "termios(3)", "pty(7)"],
        group: Group::Terminals,
        play: only!(unix: play::idle),
    },
    Scenario {
        name: "terminal-half-line",
        what: "half a line was typed",
        why: "A terminal hands over whole lines unless a program has switched that off (canonical \
              mode). Until the return key is pressed a read would block, so the keys that were \
              pressed are not told.",
        see: &["termios(3) on canonical mode"],
        group: Group::Terminals,
        play: only!(unix: play::half_line),
    },
    Scenario {
        name: "terminal-line",
        what: "a whole line was typed",
        why: "The line is there as one piece: readable, and a read returns at most that line, \
              however large the buffer.",
        see: &["termios(3) on canonical mode"],
        group: Group::Terminals,
        play: only!(unix: play::line),
    },
    Scenario {
        name: "terminal-gone",
        what: "the terminal's window was closed",
        why: "The other side of the pair is closed: the terminal is hung up. A read returns zero \
              and a write fails with EIO, neither blocks, and all of it is told. The processes in \
              front get SIGHUP besides.",
        see: &["pty(7)", "poll(2) on POLLHUP", "signal(7) on SIGHUP"],
        group: Group::Terminals,
        play: only!(unix: play::window_gone),
    },
    Scenario {
        name: "emulator",
        what: "the emulator's side, its program has ended",
        why: "The last program closed the terminal. The emulator's read fails with EIO, not with \
              zero, on Linux: HUP is the orderly end here. The emulator can still write (what is \
              typed waits for the next program to open the terminal).",
        see: &["pty(7)", "read(2) on EIO"],
        group: Group::Terminals,
        play: only!(linux: play::program_gone),
    },
];

#[cfg(unix)]
mod play {
    use std::fs::{File, OpenOptions};
    use std::io::{self, Write};
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::OpenOptionsExt;

    use polyloop::Descriptor;
    use rustix::event::PollFlags;
    use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};

    use crate::atlas::stage::{arrived, Stage};

    /// A terminal that controls nobody, and the side that holds it.
    fn terminal() -> io::Result<(Descriptor<File>, File)> {
        let emulator = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&emulator)?;
        unlockpt(&emulator)?;
        let name = ptsname(&emulator, Vec::new())?.into_bytes();
        let not_controlling = nix::fcntl::OFlag::O_NOCTTY.bits();
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(not_controlling)
            .open(std::ffi::OsString::from_vec(name))?;
        Ok((Descriptor(terminal), File::from(emulator)))
    }

    pub(super) fn idle(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut terminal, _emulator) = terminal()?;
        stage.watch(&mut terminal);
        stage.now(&terminal, "nothing was typed")
    }

    pub(super) fn half_line(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut terminal, mut emulator) = terminal()?;
        emulator.write_all(b"half")?;
        // What was typed comes back as an echo once the terminal has taken it.
        arrived(&emulator, PollFlags::IN)?;
        stage.watch(&mut terminal);
        stage.now(&terminal, "four keys, no return")
    }

    pub(super) fn line(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut terminal, mut emulator) = terminal()?;
        emulator.write_all(b"line\n")?;
        arrived(&terminal, PollFlags::IN)?;
        stage.watch(&mut terminal);
        stage.now(&terminal, "four keys and return")
    }

    pub(super) fn window_gone(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut terminal, emulator) = terminal()?;
        drop(emulator);
        arrived(&terminal, PollFlags::HUP)?;
        stage.watch(&mut terminal);
        stage.now(&terminal, "the other side is closed")
    }

    #[cfg(target_os = "linux")]
    pub(super) fn program_gone(stage: &mut Stage<'_>) -> io::Result<()> {
        let (terminal, emulator) = terminal()?;
        drop(terminal);
        let mut emulator = Descriptor(emulator);
        arrived(&emulator, PollFlags::HUP)?;
        stage.watch(&mut emulator);
        stage.now(&emulator, "no program is left")
    }
}
