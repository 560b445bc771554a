//! On which processors this process may run.

use std::io;

use super::read_proc;

/// Returns the processors that this thread may run on, `None` where the system does not tell.
///
/// # Portability
///
/// Linux, Android, FreeBSD and DragonFly. Windows could tell; macOS knows no such thing.
pub fn processors() -> Option<Vec<usize>> {
    system::processors()
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
pub fn pin(processors: &[usize]) -> io::Result<()> {
    system::pin(processors)
}

/// Returns the processors of each core that shows as several of those that this thread may run on;
/// nothing where the system does not tell. Linux does.
pub(super) fn cores() -> Vec<Vec<usize>> {
    let siblings = |processor| {
        let folder = format!("/sys/devices/system/cpu/cpu{processor}/topology");
        numbers(read_proc(&format!("{folder}/thread_siblings_list"))?.trim())
    };
    let mut cores: Vec<_> =
        processors().unwrap_or_default().into_iter().filter_map(siblings).collect();
    cores.retain(|core| core.len() > 1);
    cores.sort();
    cores.dedup();
    cores
}

/// Reads a list as the kernel writes it: `0-1,4`.
fn numbers(list: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        numbers.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly"
))]
mod system {
    use std::io;

    use nix::sched::{sched_getaffinity, sched_setaffinity, CpuSet};
    use nix::unistd::Pid;

    /// The calling thread.
    const THIS: Pid = Pid::from_raw(0);

    pub(super) fn processors() -> Option<Vec<usize>> {
        let set = sched_getaffinity(THIS).ok()?;
        let has = |&processor: &usize| set.is_set(processor).unwrap_or(false);
        Some((0..CpuSet::count()).filter(has).collect())
    }

    pub(super) fn pin(processors: &[usize]) -> io::Result<()> {
        let mut set = CpuSet::new();
        for &processor in processors {
            set.set(processor)?;
        }
        Ok(sched_setaffinity(THIS, &set)?)
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly"
)))]
mod system {
    use std::io;

    pub(super) fn processors() -> Option<Vec<usize>> {
        None
    }

    pub(super) fn pin(_: &[usize]) -> io::Result<()> {
        let message = "this system cannot pin a process to a processor";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_is_read_as_the_kernel_writes_it() {
        assert_eq!(numbers("3"), Some(vec![3]));
        assert_eq!(numbers("0-1,4,8-9"), Some(vec![0, 1, 4, 8, 9]));
        assert_eq!(numbers(""), None);
    }

    #[test]
    fn a_core_is_several_processors() {
        assert!(cores().iter().all(|core| core.len() > 1));
    }

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
