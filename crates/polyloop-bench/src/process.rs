//! What the operating system knows about this process: processor time, context
//! switches, memory, threads, descriptor limits, and the processors it may run on.
//!
//! This is the one place of the crate that asks which system it was compiled for.
//! What a system does not tell is `None`, never zero.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The processor time and context switches of this process since it started.
///
/// Threads that have ended count, which is why a server is asked for its own figures
/// rather than watched from outside.
///
/// # Portability
///
/// From `getrusage(2)` on Unix, children that have been waited for included. Linux tells of living
/// children, too, but only the sum of both kinds of processor time: the times of a process that has
/// any are undivided. On Windows it is the sum of both kinds of processor time
/// that `GetProcessTimes` tells, in ticks of 15.6 ms, and no context switches.
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
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0) + other.unwrap_or(0)),
        };
        let switches = Usage {
            voluntary_switches: sum(self.voluntary_switches, more.voluntary_switches),
            involuntary_switches: sum(self.involuntary_switches, more.involuntary_switches),
            ..Usage::default()
        };
        if self.undivided_ns.or(more.undivided_ns).is_some() {
            let undivided_ns = sum(self.processor_ns(), more.processor_ns());
            return Usage { undivided_ns, ..switches };
        }
        Usage {
            user_ns: sum(self.user_ns, more.user_ns),
            system_ns: sum(self.system_ns, more.system_ns),
            ..switches
        }
    }

    /// What was used since `start`.
    pub fn since(&self, start: &Usage) -> Usage {
        let switches = Usage {
            voluntary_switches: difference(self.voluntary_switches, start.voluntary_switches),
            involuntary_switches: difference(self.involuntary_switches, start.involuntary_switches),
            ..Usage::default()
        };
        if self.undivided_ns.or(start.undivided_ns).is_some() {
            let undivided_ns = difference(self.processor_ns(), start.processor_ns());
            return Usage { undivided_ns, ..switches };
        }
        Usage {
            user_ns: difference(self.user_ns, start.user_ns),
            system_ns: difference(self.system_ns, start.system_ns),
            ..switches
        }
    }

    /// Context switches of both kinds.
    pub fn switches(&self) -> Option<u64> {
        Some(self.voluntary_switches? + self.involuntary_switches?)
    }
}

/// The growth of a figure that only grows, if both ends of it are known.
pub(crate) fn difference(end: Option<u64>, start: Option<u64>) -> Option<u64> {
    Some(end?.saturating_sub(start?))
}

/// The memory and the threads of this process, and on Linux of its children, at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident memory in bytes. What the kernel holds for sockets is not in it.
    pub resident_bytes: Option<u64>,
    /// Threads, the one that answers included.
    ///
    /// # Portability
    ///
    /// Linux only.
    pub threads: Option<u64>,
}

/// Says whether a read that fills less than its buffer has emptied the socket, so that
/// the next arrival is an event of its own.
///
/// # Portability
///
/// True where mio sits on epoll or kqueue. On Windows mio arms a socket again only when
/// an operation on it says `WouldBlock`.
pub const SHORT_READ_EMPTIES: bool = cfg!(unix);

/// Says whether an error of a non-blocking `connect` means that it goes on in the background:
/// `EINPROGRESS` on Unix, `WSAEWOULDBLOCK` on Windows.
pub fn connect_goes_on(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) {
        return true;
    }
    error.kind() == std::io::ErrorKind::WouldBlock
}

/// Reads the processor time and the context switches used so far.
#[cfg(unix)]
pub fn usage() -> Usage {
    use nix::sys::resource::{getrusage, UsageWho};

    // getrusage(2) fails only for an unknown `who` or a bad address.
    let own = getrusage(UsageWho::RUSAGE_SELF).map(usage_of).unwrap_or_default();
    let ended = getrusage(UsageWho::RUSAGE_CHILDREN).map(usage_of).unwrap_or_default();
    children().into_iter().map(usage_of_living).fold(own.plus(&ended), |sum, more| sum.plus(&more))
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

/// The children that have not been waited for.
#[cfg(target_os = "linux")]
fn children() -> Vec<i32> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The children that have not been waited for: this system does not tell.
#[cfg(not(target_os = "linux"))]
fn children() -> Vec<i32> {
    Vec::new()
}

/// What a child has used that has not been waited for; nothing if it is gone.
#[cfg(target_os = "linux")]
fn usage_of_living(child: i32) -> Usage {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(child));
    let used = clock.and_then(nix::time::ClockId::now).ok();
    let nanoseconds = used.map(|time| std::time::Duration::from(time).as_nanos() as u64);
    let status = format!("/proc/{child}/status");
    Usage {
        user_ns: None,
        system_ns: None,
        undivided_ns: nanoseconds,
        voluntary_switches: proc_field(&status, "voluntary_ctxt_switches:"),
        involuntary_switches: proc_field(&status, "nonvoluntary_ctxt_switches:"),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn usage_of_living(_: i32) -> Usage {
    Usage::default()
}

/// Connections that are established at a listening socket of this machine, and that nobody has
/// accepted.
///
/// # Portability
///
/// Linux only, from `/proc/net/tcp`, where the receive queue of a listener is its backlog.
pub fn backlog(address: SocketAddr) -> Option<u64> {
    let (file, ip) = match address.ip() {
        IpAddr::V4(ip) => ("/proc/net/tcp", ip.octets().to_vec()),
        IpAddr::V6(ip) => ("/proc/net/tcp6", ip.octets().to_vec()),
    };
    let text = read_proc(file)?;
    // The address in words of four bytes, each in the order of the machine.
    let words =
        ip.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let mut local: String = words.map(|word| format!("{word:08X}")).collect();
    local.push_str(&format!(":{:04X}", address.port()));
    // sl local_address rem_address st tx_queue:rx_queue ...
    let mut listeners = text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let here = fields.next()? == local;
        let listens = fields.nth(1)? == "0A";
        let (_, waiting) = fields.next()?.split_once(':')?;
        (here && listens).then(|| u64::from_str_radix(waiting, 16).ok())?
    });
    let first = listeners.next()?;
    Some(first + listeners.sum::<u64>())
}

/// Reads the processor time used so far; this system does not tell of context switches.
#[cfg(windows)]
pub fn usage() -> Usage {
    let used = cpu_time::ProcessTime::try_now().ok();
    let undivided_ns = used.and_then(|used| u64::try_from(used.as_duration().as_nanos()).ok());
    Usage { undivided_ns, ..Usage::default() }
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

/// Reads the resident memory and the number of threads.
pub fn memory() -> Memory {
    let mut memory = Memory {
        resident_bytes: resident_bytes(),
        threads: proc_field("/proc/self/status", "Threads:"),
    };
    for child in children() {
        // A page that a child shares with its parent is the parent's. One that is gone has none.
        let rollup = format!("/proc/{child}/smaps_rollup");
        let private = ["Private_Clean:", "Private_Dirty:"].map(|field| proc_field(&rollup, field));
        let private = private.into_iter().flatten().sum::<u64>() * 1024;
        memory.resident_bytes = memory.resident_bytes.map(|bytes| bytes + private);
        let threads = proc_field(&format!("/proc/{child}/status"), "Threads:").unwrap_or(0);
        memory.threads = memory.threads.map(|all| all + threads);
    }
    memory
}

/// The kernel's own sum over all mappings comes first: it is exact, and reading it costs a
/// few hundred bytes. `memory_stats` would read the megabyte of `/proc/self/smaps` of a
/// process with a thousand threads, and find that megabyte in its own answer.
fn resident_bytes() -> Option<u64> {
    proc_field("/proc/self/smaps_rollup", "Rss:")
        .map(|kibibytes| kibibytes * 1024)
        .or_else(|| Some(memory_stats::memory_stats()?.physical_mem as u64))
}

/// Reads one of Linux's status files. Wine shows them to its programs, and they are its own.
fn read_proc(path: &str) -> Option<String> {
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    linux.then(|| std::fs::read_to_string(path).ok()).flatten()
}

/// Reads the number behind `field` in one of Linux's status files; `None` where there is none.
fn proc_field(path: &str, field: &str) -> Option<u64> {
    let text = read_proc(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Raises the soft limit of open descriptors to the hard one, or as far as the system lets it.
///
/// Returns the limit before and after if it was raised, `None` if there was nothing to
/// raise or the system has no such limit.
#[cfg(unix)]
pub fn raise_descriptor_limit() -> Option<(u64, u64)> {
    use nix::sys::resource::{getrlimit, rlim_t, setrlimit, Resource};

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft >= hard {
        return None;
    }
    // Apple's systems have no hard limit, and refuse a soft one past this.
    const OPEN_MAX: rlim_t = 10_240;
    let mut limits = [hard, hard.min(OPEN_MAX)].into_iter().filter(|&limit| limit > soft);
    let limit = limits.find(|&limit| setrlimit(Resource::RLIMIT_NOFILE, limit, hard).is_ok())?;
    Some((number(soft)?, number(limit)?))
}

/// Raises the soft limit of open descriptors: this system has none.
#[cfg(not(unix))]
pub fn raise_descriptor_limit() -> Option<(u64, u64)> {
    None
}

/// Returns how many descriptors this process may hold open now, `None` without a limit.
#[cfg(unix)]
pub fn descriptor_limit() -> Option<u64> {
    use nix::sys::resource::{getrlimit, Resource};

    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    number(soft).filter(|_| soft != nix::libc::RLIM_INFINITY)
}

/// A figure of a type that is not the same on all systems.
#[cfg(unix)]
fn number(figure: impl TryInto<u64>) -> Option<u64> {
    figure.try_into().ok()
}

/// Returns how many descriptors this process may hold open now: this system has no limit.
#[cfg(not(unix))]
pub fn descriptor_limit() -> Option<u64> {
    None
}

/// Returns the processors that this thread may run on, `None` where the system does not tell.
///
/// # Portability
///
/// Linux, Android, FreeBSD and DragonFly. Windows could tell; macOS knows no such thing.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly"
))]
pub fn processors() -> Option<Vec<usize>> {
    use nix::sched::{sched_getaffinity, CpuSet};
    use nix::unistd::Pid;

    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    Some((0..CpuSet::count()).filter(|&processor| set.is_set(processor).unwrap_or(false)).collect())
}

/// Returns the processors that this thread may run on: this system does not tell.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly"
)))]
pub fn processors() -> Option<Vec<usize>> {
    None
}

/// Pins this thread, and every thread and process that it starts from now on, to some processors.
///
/// # Errors
///
/// None of them is one that this process may run on.
///
/// # Portability
///
/// Linux, Android, FreeBSD and DragonFly; an error elsewhere.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly"
))]
pub fn pin(processors: &[usize]) -> std::io::Result<()> {
    use nix::sched::{sched_setaffinity, CpuSet};
    use nix::unistd::Pid;

    let mut set = CpuSet::new();
    for &processor in processors {
        set.set(processor)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}

/// Pins this thread to some processors: not possible on this system.
///
/// # Errors
///
/// Always.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly"
)))]
pub fn pin(_processors: &[usize]) -> std::io::Result<()> {
    Err(std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "this system cannot pin a process to a processor",
    ))
}

/// The machine that a result was measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The operating system, as Rust names it.
    pub system: String,
    /// The kernel's release, where the system tells.
    pub kernel: Option<String>,
    /// The processor's architecture.
    pub architecture: String,
    /// The processor's model, where the system tells.
    pub processor: Option<String>,
    /// How many processors this process may use.
    pub processors: usize,
}

/// Describes the machine that this process runs on.
pub fn machine() -> Machine {
    let model = read_proc("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    Machine {
        system: std::env::consts::OS.to_owned(),
        kernel: read_proc("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        architecture: std::env::consts::ARCH.to_owned(),
        processor: model,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        let machine = machine();
        assert!(machine.processors >= 1);
        assert_eq!(machine.system, std::env::consts::OS);
    }

    #[test]
    #[cfg(unix)]
    fn usage_grows_with_work_and_keeps_threads_that_ended() {
        let before = usage().processor_ns().unwrap();
        let worker = std::thread::spawn(|| {
            let start = usage().processor_ns().unwrap();
            while usage().processor_ns().unwrap() < start + 20_000_000 {
                std::hint::black_box(0);
            }
        });
        worker.join().unwrap();
        assert!(usage().processor_ns().unwrap() >= before + 20_000_000);
    }

    #[test]
    fn what_is_undivided_at_either_end_is_undivided_between_them() {
        let divided = |user, system| Usage {
            user_ns: Some(user),
            system_ns: Some(system),
            ..Usage::default()
        };
        let undivided = |both| Usage { undivided_ns: Some(both), ..Usage::default() };
        assert_eq!(divided(5, 7).since(&divided(2, 3)), divided(3, 4));
        assert_eq!(divided(5, 7).since(&undivided(9)), undivided(3));
        assert_eq!(undivided(15).since(&divided(5, 7)), undivided(3));
        assert_eq!(undivided(15).since(&undivided(9)).processor_ns(), Some(6));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_of_a_living_child_is_undivided() {
        // cat(1) lives until the end of its input.
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let with = usage();
        assert!((with.user_ns, with.system_ns) == (None, None), "{with:?}");
        assert!(with.processor_ns().is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
        let without = usage();
        assert!(without.user_ns.is_some() && without.undivided_ns.is_none(), "{without:?}");
        assert!(without.since(&with).processor_ns().is_some());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_sees_what_is_touched() {
        const SIZE: usize = 64 << 20;
        let before = memory().resident_bytes.unwrap();
        let block = std::hint::black_box(vec![1u8; SIZE]);
        let after = memory().resident_bytes.unwrap();
        assert!(after >= before + SIZE as u64 / 2, "{before} then {after}");
        assert!(memory().threads.unwrap() >= 1);
        drop(block);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pinned_thread_has_the_processors_it_was_pinned_to() {
        let all = processors().unwrap();
        let last = *all.last().unwrap();
        let seen = std::thread::spawn(move || {
            pin(&[last]).unwrap();
            let one = processors().unwrap();
            pin(&all).unwrap();
            (one, processors().unwrap() == all)
        });
        assert_eq!(seen.join().unwrap(), (vec![last], true));
    }
}
