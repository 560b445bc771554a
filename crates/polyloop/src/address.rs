//! Where a server listens, and who calls.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens: an IP address with its port, or the path of a Unix-domain socket.
///
/// As text: `127.0.0.1:7000`, `[::1]:7000`, `unix:/run/echo.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP. Port 0 lets the system choose.
    Ip(SocketAddr),
    /// A Unix-domain stream socket.
    ///
    /// # Portability
    ///
    /// Unix only; elsewhere listening says so.
    Unix(PathBuf),
}

impl Address {
    /// What the text of a Unix-domain socket begins with.
    const UNIX: &'static str = "unix:";

    /// The IP address and port; `None` for a Unix-domain socket.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }
}

/// Where this machine reaches a socket that is bound to `address`.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

/// To connect to it; a Unix-domain socket has no such address, which is the error.
impl ToSocketAddrs for Address {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.ip() {
            Some(address) => Ok(Some(address).into_iter()),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{self} has no IP address"),
            )),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "{}{}", Address::UNIX, path.display()),
        }
    }
}

/// Reads `unix:PATH`, or an address and port in figures; names are for [`ToAddresses`].
impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Address, Self::Err> {
        match text.strip_prefix(Address::UNIX) {
            Some(path) => Ok(Address::Unix(path.into())),
            None => text.parse().map(Address::Ip),
        }
    }
}

/// What [`ServerBuilder::listen`](crate::ServerBuilder::listen) takes: one address or several.
///
/// Text is `unix:PATH`, or what [`ToSocketAddrs`] makes of it, names included.
pub trait ToAddresses {
    /// The addresses.
    ///
    /// # Errors
    ///
    /// The name does not resolve.
    fn to_addresses(&self) -> io::Result<Vec<Address>>;
}

impl ToAddresses for str {
    fn to_addresses(&self) -> io::Result<Vec<Address>> {
        if self.starts_with(Address::UNIX) {
            let address = self.parse().expect("nothing that begins so is wrong");
            return Ok(vec![address]);
        }
        match self.to_socket_addrs() {
            Ok(addresses) => Ok(addresses.map(Address::Ip).collect()),
            Err(error) => {
                let message = format!("cannot listen on {self:?}: {error}");
                Err(io::Error::new(error.kind(), message))
            }
        }
    }
}

impl ToAddresses for String {
    fn to_addresses(&self) -> io::Result<Vec<Address>> {
        self.as_str().to_addresses()
    }
}

impl ToAddresses for SocketAddr {
    fn to_addresses(&self) -> io::Result<Vec<Address>> {
        Ok(vec![Address::Ip(*self)])
    }
}

impl ToAddresses for Address {
    fn to_addresses(&self) -> io::Result<Vec<Address>> {
        Ok(vec![self.clone()])
    }
}

impl ToAddresses for [Address] {
    fn to_addresses(&self) -> io::Result<Vec<Address>> {
        Ok(self.to_vec())
    }
}

impl<T: ToAddresses + ?Sized> ToAddresses for &T {
    fn to_addresses(&self) -> io::Result<Vec<Address>> {
        (**self).to_addresses()
    }
}

/// Who is at the other end of a connection.
///
/// It displays as the IP address and port, or as `unix`: a client of a Unix-domain socket has no
/// address of its own as a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer(Repr);

/// Half the size of a [`SocketAddr`], which is that of IPv6: every connection has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
    Unix,
}

impl Peer {
    /// Somebody at a Unix-domain socket.
    pub const UNIX: Peer = Peer(Repr::Unix);

    /// The IP address and port; `None` for the client of a Unix-domain socket.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match &self.0 {
            Repr::V4(address) => Some(SocketAddr::V4(*address)),
            Repr::V6(address) => Some(SocketAddr::V6(**address)),
            Repr::Unix => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer(match address {
            SocketAddr::V4(address) => Repr::V4(address),
            SocketAddr::V6(address) => Repr::V6(Box::new(address)),
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_text() {
        for text in ["127.0.0.1:7000", "[::1]:7000", "unix:/run/echo.sock", "unix:relative"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!("localhost:7000".parse::<Address>().is_err());
    }

    #[test]
    fn a_peer_is_what_it_was_made_of() {
        for text in ["127.0.0.1:7000", "[::1]:7000"] {
            let address: SocketAddr = text.parse().unwrap();
            let peer = Peer::from(address);
            assert_eq!(peer.ip(), Some(address));
            assert_eq!(peer.to_string(), text);
        }
        assert_eq!(Peer::UNIX.to_string(), "unix");
        assert!(std::mem::size_of::<Peer>() <= 16);
    }
}
