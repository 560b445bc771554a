//! How many descriptors this process may hold open, and on which processors it may run.

#[cfg(unix)]
use super::number;

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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
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
