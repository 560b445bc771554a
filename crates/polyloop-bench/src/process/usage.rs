//! Processor time and context switches, of this process and of its children.

#[cfg(unix)]
use nix::sys::resource::{getrusage, UsageWho};
use serde::{Deserialize, Serialize};

#[cfg(unix)]
use super::{children, number};
#[cfg(target_os = "linux")]
use super::{field, read_proc};

/// The processor time and context switches of this process since it started.
///
/// Threads that have ended count, which is why a server is asked for its own figures
/// rather than watched from outside.
///
/// # Portability
///
/// From `getrusage(2)` on Unix, children that have been waited for included. Linux tells of living
/// children, too ([`lists_children`](super::lists_children)), but only the sum of both kinds of
/// processor time: the times of a process that has any are undivided. On Windows it is the sum of
/// both kinds of processor time that `GetProcessTimes` tells, in ticks of 15.6 ms, and no context
/// switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time in user mode, in nanoseconds.
    pub user_ns: Option<u64>,
    /// Processor time in the kernel, in nanoseconds.
    pub system_ns: Option<u64>,
    /// Processor time of both kinds in nanoseconds, where only their sum is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undivided_ns: Option<u64>,
    /// How often a thread gave the processor up to wait for something.
    pub voluntary_switches: Option<u64>,
    /// How often a thread had the processor taken away.
    pub involuntary_switches: Option<u64>,
}

impl Usage {
    /// User plus system time, in nanoseconds.
    pub fn processor_ns(&self) -> Option<u64> {
        self.undivided_ns.or_else(|| Some(self.user_ns? + self.system_ns?))
    }

    /// This and `more` together; what either does not know counts as nothing.
    #[cfg(unix)]
    fn plus(&self, more: &Usage) -> Usage {
        self.join(more, |one, other| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0) + other.unwrap_or(0)),
        })
    }

    /// What was used since `start`.
    pub fn since(&self, start: &Usage) -> Usage {
        // Figures that only grow; known if both ends are.
        self.join(start, |end, start| Some(end?.saturating_sub(start?)))
    }

    /// Joins each figure with that of `other`; kinds of processor time that either does not tell
    /// apart are not told apart.
    fn join(&self, other: &Usage, join: fn(Option<u64>, Option<u64>) -> Option<u64>) -> Usage {
        let switches = Usage {
            voluntary_switches: join(self.voluntary_switches, other.voluntary_switches),
            involuntary_switches: join(self.involuntary_switches, other.involuntary_switches),
            ..Usage::default()
        };
        if self.undivided_ns.or(other.undivided_ns).is_some() {
            let undivided_ns = join(self.processor_ns(), other.processor_ns());
            return Usage { undivided_ns, ..switches };
        }
        Usage {
            user_ns: join(self.user_ns, other.user_ns),
            system_ns: join(self.system_ns, other.system_ns),
            ..switches
        }
    }

    /// Context switches of both kinds.
    pub fn switches(&self) -> Option<u64> {
        Some(self.voluntary_switches? + self.involuntary_switches?)
    }
}

/// What this process has used so far, before and after that was looked up.
///
/// To look costs this process time, with a thousand children as much as a thousand requests. A
/// window between two readings has neither look in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What had been used before anything was looked at.
    #[serde(flatten)]
    pub before: Usage,
    /// The same with what the look at the children took; none if there was nothing to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Usage>,
}

impl Reading {
    /// What was used from the end of the reading `start` to the beginning of this one.
    pub fn since(&self, start: &Reading) -> Usage {
        self.before.since(start.after.as_ref().unwrap_or(&start.before))
    }
}

/// Reads the processor time and the context switches used so far.
#[cfg(unix)]
pub fn usage() -> Reading {
    let own = usage_by(UsageWho::RUSAGE_SELF);
    let ended = usage_by(UsageWho::RUSAGE_CHILDREN);
    let children = children().unwrap_or_default();
    let living = |sum: Usage, &child: &i32| sum.plus(&usage_of_living(child));
    let descended = children.iter().fold(ended, living);
    Reading {
        before: own.plus(&descended),
        after: (!children.is_empty()).then(|| usage_by(UsageWho::RUSAGE_SELF).plus(&descended)),
    }
}

#[cfg(unix)]
fn usage_by(who: UsageWho) -> Usage {
    // getrusage(2) fails only for an unknown `who` or a bad address.
    getrusage(who).map(usage_of).unwrap_or_default()
}

#[cfg(unix)]
fn usage_of(usage: nix::sys::resource::Usage) -> Usage {
    let nanoseconds = |time: nix::sys::time::TimeVal| {
        Some(number(time.tv_sec())? * 1_000_000_000 + number(time.tv_usec())? * 1_000)
    };
    Usage {
        user_ns: nanoseconds(usage.user_time()),
        system_ns: nanoseconds(usage.system_time()),
        undivided_ns: None,
        voluntary_switches: number(usage.voluntary_context_switches()),
        involuntary_switches: number(usage.involuntary_context_switches()),
    }
}

/// What a child has used that has not been waited for; nothing if it is gone.
#[cfg(target_os = "linux")]
fn usage_of_living(child: i32) -> Usage {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(child));
    let used = clock.and_then(nix::time::ClockId::now).ok();
    let nanoseconds = used.map(|time| std::time::Duration::from(time).as_nanos() as u64);
    let status = read_proc(&format!("/proc/{child}/status")).unwrap_or_default();
    Usage {
        user_ns: None,
        system_ns: None,
        undivided_ns: nanoseconds,
        voluntary_switches: field(&status, "voluntary_ctxt_switches:"),
        involuntary_switches: field(&status, "nonvoluntary_ctxt_switches:"),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn usage_of_living(_: i32) -> Usage {
    Usage::default()
}

/// Reads the processor time used so far; this system does not tell of context switches.
#[cfg(windows)]
pub fn usage() -> Reading {
    let used = cpu_time::ProcessTime::try_now().ok();
    let undivided_ns = used.and_then(|used| u64::try_from(used.as_duration().as_nanos()).ok());
    Reading { before: Usage { undivided_ns, ..Usage::default() }, after: None }
}

/// Measures the processor time of the calling thread.
///
/// # Portability
///
/// From `CLOCK_THREAD_CPUTIME_ID` on Unix. Windows counts a thread's processor time in ticks of 15
/// milliseconds, so there it is time by the clock.
#[derive(Clone, Copy, Debug)]
pub struct ProcessorClock {
    #[cfg(unix)]
    start: std::time::Duration,
    #[cfg(not(unix))]
    start: std::time::Instant,
}

#[cfg(unix)]
impl ProcessorClock {
    /// Begins to measure.
    pub fn start() -> ProcessorClock {
        ProcessorClock { start: ProcessorClock::read() }
    }

    /// What this thread has used since the start.
    pub fn elapsed(&self) -> std::time::Duration {
        ProcessorClock::read().saturating_sub(self.start)
    }

    fn read() -> std::time::Duration {
        use nix::time::{clock_gettime, ClockId};

        // It fails for a clock that does not exist: then a measured time would never pass.
        match clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) {
            Ok(time) => time.into(),
            Err(error) => panic!("no clock of the thread's processor time: {error}"),
        }
    }
}

#[cfg(not(unix))]
impl ProcessorClock {
    /// Begins to measure.
    pub fn start() -> ProcessorClock {
        ProcessorClock { start: std::time::Instant::now() }
    }

    /// What has passed since the start.
    pub fn elapsed(&self) -> std::time::Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn usage_grows_with_work_and_keeps_threads_that_ended() {
        let before = usage().before.processor_ns().unwrap();
        let worker = std::thread::spawn(|| {
            let start = usage().before.processor_ns().unwrap();
            while usage().before.processor_ns().unwrap() < start + 20_000_000 {
                std::hint::black_box(0);
            }
        });
        worker.join().unwrap();
        assert!(usage().before.processor_ns().unwrap() >= before + 20_000_000);
    }

    #[test]
    fn what_is_undivided_at_either_end_is_undivided_between_them() {
        let divided = |user, system| Usage {
            user_ns: Some(user),
            system_ns: Some(system),
            ..Usage::default()
        };
        let undivided = |both| Usage { undivided_ns: Some(both), ..Usage::default() };
        assert_eq!(divided(5, 7).processor_ns(), Some(12));
        assert_eq!(divided(5, 7).since(&divided(2, 3)), divided(3, 4));
        assert_eq!(divided(5, 7).since(&undivided(9)), undivided(3));
        assert_eq!(undivided(15).since(&divided(5, 7)), undivided(3));
        assert_eq!(undivided(15).since(&undivided(9)).processor_ns(), Some(6));
    }

    #[test]
    fn neither_look_is_in_the_window_between_two_readings() {
        let used = |ns| Usage { undivided_ns: Some(ns), ..Usage::default() };
        let with_children =
            |before, after| Reading { before: used(before), after: Some(used(after)) };
        let alone = |before| Reading { before: used(before), after: None };
        assert_eq!(with_children(90, 190).since(&with_children(10, 60)), used(30));
        assert_eq!(alone(90).since(&with_children(10, 60)), used(30));
        assert_eq!(with_children(90, 190).since(&alone(10)), used(80));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_of_a_living_child_is_undivided() {
        // cat(1) lives until the end of its input.
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let with = usage().before;
        assert!((with.user_ns, with.system_ns) == (None, None), "{with:?}");
        assert!(with.processor_ns().is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
        let without = usage().before;
        assert!(without.user_ns.is_some() && without.undivided_ns.is_none(), "{without:?}");
        assert!(without.since(&with).processor_ns().is_some());
    }
}
