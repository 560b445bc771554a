//! What a server promises and limits.

use std::io;
use std::time::Duration;

/// What a server promises and limits, the same for every model.
///
/// ```
/// use std::time::Duration;
/// use polyloop::Config;
///
/// let config = Config { idle: Some(Duration::from_secs(20)), ..Config::default() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Connections that the kernel holds until they are accepted. The system cuts it to a limit of
    /// its own (`net.core.somaxconn` on Linux). 1024 by default.
    pub backlog: u32,
    /// Connections served at once; further ones wait in the backlog. By default as many as there
    /// are descriptors (and threads, where a model needs them).
    pub max_connections: Option<usize>,
    /// Connections that a loop accepts in one turn before it serves those it has. 64 by default.
    pub accept_budget: usize,
    /// How long a connection may stay without a byte in either direction; `None` is for ever, here
    /// and in the next two. Five minutes by default. A thread or a process that waits in `read` is
    /// looked at from outside, and has a sixteenth more at most.
    pub idle: Option<Duration>,
    /// How long a message may stand unfinished, from when a part of it was left unused. Thirty
    /// seconds by default.
    pub read: Option<Duration>,
    /// How long a peer may take nothing of the output that waits for it. Thirty seconds by
    /// default. A thread that blocks is told neither when nor how much was taken before its wait
    /// was over, and gives twice as long at most.
    pub write: Option<Duration>,
    /// Bytes of waiting output above which a connection is not read from. 64 KiB by default.
    pub high_water: usize,
    /// Bytes of waiting output at which it is read from again. 16 KiB by default.
    pub low_water: usize,
    /// Bytes of input that a protocol may leave unused before the connection is closed. 1 MiB by
    /// default.
    pub max_input: usize,
    /// Bytes of output that may wait before the connection is closed; they come from a protocol
    /// that sends without being asked, or from other connections. 16 MiB by default.
    pub max_output: usize,
    /// Bytes of the longest datagram that is taken whole; one that is longer is told as
    /// [truncated](crate::DatagramProtocol::truncated). 65,507 by default, which is all that UDP
    /// on IPv4 can carry.
    pub max_datagram: usize,
    /// How long a drain waits for connections that are in the middle of something. Ten seconds by
    /// default.
    pub drain: Duration,
}

impl Config {
    /// Looks for limits within which nothing could be served. Servers of streams and models do,
    /// before they listen; a [`blocking::Service`](crate::blocking::Service) does not.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, which names the limit.
    pub fn check(&self) -> io::Result<()> {
        let wrong = if self.max_connections == Some(0) {
            "max_connections is 0: nobody would be served; None is no limit"
        } else if self.accept_budget == 0 {
            "accept_budget is 0: nobody would be accepted"
        } else if self.low_water > self.high_water {
            "low_water is above high_water"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            backlog: 1024,
            max_connections: None,
            accept_budget: 64,
            idle: Some(Duration::from_secs(300)),
            read: Some(Duration::from_secs(30)),
            write: Some(Duration::from_secs(30)),
            high_water: 64 * 1024,
            low_water: 16 * 1024,
            max_input: 1024 * 1024,
            max_output: 16 * 1024 * 1024,
            max_datagram: crate::datagram::LONGEST,
            drain: Duration::from_secs(10),
        }
    }
}
