//! The socket beneath, and how to open it.

use std::io;
use std::net::{self, SocketAddr};

use super::{Inbox, Outbox};
use crate::listen::refused;
use crate::{Address, ToAddresses};

/// Receives and sends datagrams, one or several at a call.
///
/// `mio::net::UdpSocket` is one, with one datagram at a call, on every system: blocking or not, as
/// it was made. A socket that knows calls for several is another.
pub trait DatagramSocket: Sync {
    /// How many datagrams a call may move.
    const BATCH: usize;

    /// Receives into `inbox` what there is, at least one datagram. Fewer than
    /// [`BATCH`](DatagramSocket::BATCH) means that there was no more at that moment.
    ///
    /// # Errors
    ///
    /// What the system says; `WouldBlock` if the socket does not block and there is none.
    fn receive(&self, inbox: &mut Inbox) -> io::Result<()>;

    /// Sends the first datagrams of `outbox`, which is not empty, and returns how many were taken:
    /// at least one. They stay in it.
    ///
    /// # Errors
    ///
    /// What the system says about the first.
    fn send(&self, outbox: &Outbox) -> io::Result<usize>;

    /// Where the socket is bound.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn local_address(&self) -> io::Result<SocketAddr>;
}

impl DatagramSocket for mio::net::UdpSocket {
    const BATCH: usize = 1;

    #[inline]
    fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        let buffer = inbox.buffers().next().unwrap_or_default();
        let (length, from) = self.recv_from(buffer)?;
        inbox.push(length, from);
        Ok(())
    }

    #[inline]
    fn send(&self, outbox: &Outbox) -> io::Result<usize> {
        match outbox.iter().next() {
            Some((to, datagram)) => self.send_to(datagram, to).map(|_| 1),
            None => Ok(0),
        }
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

/// Opens a socket for datagrams at each of `addresses`. They block: for a loop, set them
/// non-blocking. Port 0 lets the system choose.
///
/// # Errors
///
/// What the system says, with the address and, where one is known, what to do; `Unsupported` for
/// the path of a Unix-domain socket.
pub fn bind(addresses: impl ToAddresses) -> io::Result<Vec<net::UdpSocket>> {
    let open = |address: &Address| {
        let Some(ip) = address.ip() else {
            let message =
                format!("no datagrams at {address}: they come over UDP, to an IP address");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        };
        net::UdpSocket::bind(ip).map_err(|error| refused(address, &error))
    };
    addresses.to_addresses()?.iter().map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_address_is_in_use() {
        let first = bind("127.0.0.1:0").unwrap();
        let address = first[0].local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn a_path_is_no_address_for_datagrams() {
        let error = bind("unix:/nowhere").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
