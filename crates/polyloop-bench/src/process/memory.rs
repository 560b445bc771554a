//! The memory and the threads of this process.

use serde::{Deserialize, Serialize};

use super::{children, field, read_proc};

/// The memory and the threads of this process, and of its living children where the system lists them
/// ([`lists_children`](super::lists_children)), at this moment.
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

/// Reads the resident memory and the number of threads.
pub fn memory() -> Memory {
    let status = read_proc("/proc/self/status");
    let mut memory = Memory {
        resident_bytes: resident_bytes(),
        threads: status.and_then(|status| field(&status, "Threads:")),
    };
    for child in children().unwrap_or_default() {
        // One that is gone has neither memory nor threads.
        let rollup = read_proc(&format!("/proc/{child}/smaps_rollup")).unwrap_or_default();
        let status = read_proc(&format!("/proc/{child}/status")).unwrap_or_default();
        // A page that a child shares with its parent is the parent's.
        let private = ["Private_Clean:", "Private_Dirty:"].map(|name| field(&rollup, name));
        let private = private.into_iter().flatten().sum::<u64>() * 1024;
        memory.resident_bytes = memory.resident_bytes.map(|bytes| bytes + private);
        let threads = field(&status, "Threads:").unwrap_or(0);
        memory.threads = memory.threads.map(|all| all + threads);
    }
    memory
}

/// The kernel's own sum over all mappings comes first: it is exact, and reading it costs a
/// few hundred bytes. `memory_stats` would read the megabyte of `/proc/self/smaps` of a
/// process with a thousand threads, and find that megabyte in its own answer.
fn resident_bytes() -> Option<u64> {
    read_proc("/proc/self/smaps_rollup")
        .and_then(|rollup| field(&rollup, "Rss:"))
        .map(|kibibytes| kibibytes * 1024)
        .or_else(|| Some(memory_stats::memory_stats()?.physical_mem as u64))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_sees_what_is_touched() {
        const SIZE: usize = 64 << 20;
        let before = memory().resident_bytes.unwrap();
        let block = std::hint::black_box(vec![1u8; SIZE]);
        let after = memory().resident_bytes.unwrap();
        assert!(after >= before + SIZE as u64 / 2, "{before} then {after}");
        assert!(memory().threads.unwrap() >= 1);
        drop(block);
    }
}
