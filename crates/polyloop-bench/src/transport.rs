//! What carries requests: streams, or datagrams.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cli::Usage;
use crate::protocols::Builtin;

/// What carries requests and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A connection for each client; a Unix-domain socket's too, if the address is a path
    #[default]
    Tcp,
    /// A datagram for each request and each answer; no connections
    Udp,
}

impl Transport {
    /// How long a request may take, unless it is said otherwise. A datagram that is lost never
    /// comes, and its client waits for nothing.
    pub fn patience(self) -> Duration {
        match self {
            Transport::Tcp => Duration::from_secs(5),
            Transport::Udp => Duration::from_millis(200),
        }
    }

    /// Says whether it carries a protocol.
    ///
    /// # Errors
    ///
    /// Datagrams carry `echo` only: the others are made for streams.
    pub fn check(self, protocol: Builtin) -> Result<(), Usage> {
        if self == Transport::Udp && protocol != Builtin::Echo {
            let text = format!("--transport udp carries echo only: {protocol} is made for streams");
            return Err(Usage(text));
        }
        Ok(())
    }
}

/// A socket, with a port of its own, that sends to `target` and hears nobody else.
///
/// # Errors
///
/// What the system says.
pub fn datagrams_to(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket)
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        })
    }
}
