//! Descriptors that only Linux has.

use super::scenario::{only, Group, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "eventfd",
        what: "a counter that can be waited for",
        why: "Readable when it is not zero, writable when one can be added, which is practically \
              always. A read takes all of it at once, so many wakes become one. It \
              is what mio wakes a poll with.",
        see: &["eventfd(2)"],
        group: Group::Linux,
        play: only!(linux: play::eventfd),
    },
    Scenario {
        name: "timerfd",
        what: "a timer that can be waited for",
        why: "Readable once it has expired and until it is read; the read says how often it has. \
              Never writable. Expiring twice before a read is one readiness with the count two.",
        see: &["timerfd_create(2)"],
        group: Group::Linux,
        play: only!(linux: play::timerfd),
    },
    Scenario {
        name: "signalfd",
        what: "signals that can be waited for",
        why:
            "Readable while a blocked signal of its set is pending for the process or thread that \
              asks, which makes it the one descriptor whose readiness depends on who asks: with \
              epoll, on who registered it. Signals that are pending merge, so one read may stand \
              for many.",
        see: &["signalfd(2)", "epoll(7)"],
        group: Group::Linux,
        play: only!(linux: play::signalfd),
    },
    Scenario {
        name: "pidfd",
        what: "a process that can be waited for",
        why: "Readable when the process has ended, before it has been waited for and after. It \
              spares a SIGCHLD handler, and no other process can ever be meant by it.",
        see: &["pidfd_open(2)"],
        group: Group::Linux,
        play: only!(linux: play::pidfd),
    },
    Scenario {
        name: "epoll-in-epoll",
        what: "an epoll descriptor that is itself watched",
        why: "An epoll set is readable when a wait on it would return something. So one library's \
              loop can be hung into another's: register its epoll descriptor, and call its wait \
              with timeout zero when it is readable. Cycles and more than five floors are refused \
              (ELOOP).",
        see: &["epoll(7) on nesting", "epoll_ctl(2) on ELOOP"],
        group: Group::Linux,
        play: only!(linux: play::epoll_in_epoll),
    },
];

#[cfg(target_os = "linux")]
mod play {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use nix::sys::signal::{raise, SigSet, Signal};
    use nix::sys::signalfd::{SfdFlags, SignalFd};
    use polyloop::Descriptor;
    use rustix::event::{self, epoll, EventfdFlags, PollFlags};
    use rustix::process::{pidfd_open, Pid, PidfdFlags};
    use rustix::time::{
        timerfd_create, timerfd_settime, Itimerspec, TimerfdClockId, TimerfdFlags,
        TimerfdTimerFlags, Timespec,
    };

    use crate::atlas::stage::{arrived, Stage};

    pub(super) fn eventfd(stage: &mut Stage<'_>) -> io::Result<()> {
        let counter = event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let mut counter = Descriptor(File::from(counter));
        stage.watch(&mut counter);
        stage.now(&counter, "it is zero")?;
        counter.0.write_all(&1_u64.to_ne_bytes())?;
        stage.now(&counter, "one was added")?;
        // The greatest number that it can hold is one less than the greatest of its type's.
        let rest = (u64::MAX - 2).to_ne_bytes();
        stage.fill(&counter, |_| (&counter.0).write(&rest))?;
        stage.now(&counter, "full: adding says EAGAIN")
    }

    pub(super) fn timerfd(stage: &mut Stage<'_>) -> io::Result<()> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let mut timer = Descriptor(timerfd_create(TimerfdClockId::Monotonic, flags)?);
        stage.watch(&mut timer);
        stage.now(&timer, "it is not set")?;
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: 0, tv_nsec: 1 },
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
        stage.when(&timer, PollFlags::IN, "it has expired")
    }

    pub(super) fn signalfd(stage: &mut Stage<'_>) -> io::Result<()> {
        // Of this thread: no other one sees the signal, and nothing happens to the process.
        const SIGNAL: Signal = Signal::SIGURG;
        let signals = SigSet::from(SIGNAL);
        let blocked = signals.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let mut source = Descriptor(SignalFd::with_flags(&signals, flags)?);
        stage.watch(&mut source);
        let seen = stage.now(&source, "no signal is pending").and_then(|()| {
            raise(SIGNAL)?;
            let seen = stage.now(&source, "a signal is pending");
            source.0.read_signal()?;
            seen
        });
        blocked.thread_set_mask()?;
        seen
    }

    pub(super) fn pidfd(stage: &mut Stage<'_>) -> io::Result<()> {
        // It lives until its input ends.
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut played = || {
            let process = Pid::from_child(&child);
            let mut process = Descriptor(pidfd_open(process, PidfdFlags::NONBLOCK)?);
            stage.watch(&mut process);
            stage.now(&process, "it runs")?;
            drop(child.stdin.take());
            stage.when(&process, PollFlags::IN, "it has ended")
        };
        let played = played();
        drop(child.stdin.take());
        child.wait()?;
        played
    }

    pub(super) fn epoll_in_epoll(stage: &mut Stage<'_>) -> io::Result<()> {
        let inner = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (reader, mut writer) = std::io::pipe()?;
        let name = epoll::EventData::new_u64(0);
        epoll::add(&inner, &reader, name, epoll::EventFlags::IN)?;
        let mut inner: Descriptor<OwnedFd> = Descriptor(inner);
        stage.watch(&mut inner);
        stage.now(&inner, "what it watches is silent")?;
        writer.write_all(b"x")?;
        arrived(&reader, PollFlags::IN)?;
        stage.now(&inner, "what it watches is ready")
    }
}
