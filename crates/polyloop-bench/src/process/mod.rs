//! What the operating system knows about this process: processor time, context
//! switches, memory, threads, descriptor limits, the processors it may run on, and interrupts.
//!
//! This and the load generator's `system` are the places of the crate that ask which system it was
//! compiled for. What a system does not tell is `None`, never zero.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

mod interrupt;
mod limits;
mod memory;
mod pinning;
mod usage;

pub use interrupt::on_interrupt;
pub use limits::{descriptor_limit, raise_descriptor_limit};
pub use memory::{memory, Memory};
pub use pinning::{pin, processors};
pub use usage::{usage, ProcessorClock, Reading, Usage};

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
    /// The processors of each core that shows as several, where the system tells.
    #[serde(default)]
    pub cores: Vec<Vec<usize>>,
}

impl Machine {
    /// Says whether two processors are one core, so that each slows the other down.
    pub fn is_one_core(&self, one: usize, other: usize) -> bool {
        self.cores.iter().any(|core| core.contains(&one) && core.contains(&other))
    }
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
        cores: pinning::cores(),
    }
}

/// Reads one of Linux's status files. Wine shows them to its programs, and they are its own.
fn read_proc(path: &str) -> Option<String> {
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    linux.then(|| std::fs::read_to_string(path).ok()).flatten()
}

/// Reads the number behind `name` in the text of one of Linux's status files; `None` where there is
/// none.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Says whether the system tells a process which living children it has: without that, what they use
/// is in none of its figures.
///
/// # Portability
///
/// Linux only, whose kernel may be built without it.
pub fn lists_children() -> bool {
    children().is_some()
}

/// The children that have not been waited for, `None` where the system does not tell.
#[cfg(target_os = "linux")]
fn children() -> Option<Vec<i32>> {
    let text = std::fs::read_to_string("/proc/thread-self/children").ok()?;
    Some(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// The children that have not been waited for: this system does not tell.
#[cfg(not(target_os = "linux"))]
fn children() -> Option<Vec<i32>> {
    None
}

/// A figure of a type that is not the same on all systems.
#[cfg(unix)]
fn number(figure: impl TryInto<u64>) -> Option<u64> {
    figure.try_into().ok()
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
}
