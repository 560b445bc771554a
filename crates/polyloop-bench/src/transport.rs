//! What carries requests, streams or datagrams, and where to.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use clap::ValueEnum;
use polyloop::Address;
use serde::{Deserialize, Serialize};

use crate::mistake::Mistake;
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
    pub fn check(self, protocol: Builtin) -> Result<(), Mistake> {
        if self == Transport::Udp && protocol != Builtin::Echo {
            let text = format!("--transport udp carries echo only: {protocol} is made for streams");
            return Err(Mistake(text));
        }
        Ok(())
    }
}

/// Reads an address, or a name and a port: of a name that has several addresses, the first.
///
/// # Errors
///
/// Says what an address looks like, or why its name does not resolve.
pub fn parse_address(text: &str) -> Result<Address, String> {
    match text.parse() {
        Ok(Address::Unix(path)) if path.as_os_str().is_empty() => {}
        Ok(address) => return Ok(address),
        Err(_) => {}
    }
    let (name, _) = text
        .rsplit_once(':')
        .filter(|(name, _)| !name.is_empty() && !name.contains(':'))
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .ok_or("write HOST:PORT, such as 127.0.0.1:7000 or [::1]:7000, or unix:PATH")?;
    let unresolved = |why: &dyn std::fmt::Display| {
        format!("{name} does not resolve: {why}; check the name, or write an IP address")
    };
    let found = text.to_socket_addrs().map_err(|error| unresolved(&error))?.next();
    found.map(Address::Ip).ok_or_else(|| unresolved(&"it has no address"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_explained() {
        assert_eq!(parse_address("127.0.0.1:80").unwrap(), "127.0.0.1:80".parse().unwrap());
        assert!(parse_address("127.0.0.1").unwrap_err().contains("HOST:PORT"));
        for wrong in ["127.0.0.1:99999", ":80", "::1:80", "localhost:http", "unix:"] {
            assert!(parse_address(wrong).unwrap_err().contains("HOST:PORT"), "{wrong}");
        }
        // The name is reserved never to resolve (RFC 6761).
        let unresolved = parse_address("no.such.host.invalid:80").unwrap_err();
        assert!(unresolved.starts_with("no.such.host.invalid does not resolve: "), "{unresolved}");
    }
}
