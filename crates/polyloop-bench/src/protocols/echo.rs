//! The protocol `echo`.

use std::net::SocketAddr;

use polyloop::{Connection, DatagramProtocol, Protocol, Reply};

/// Says back what it hears, as it comes (RFC 862). It knows no messages: what was sent in three
/// pieces may come back in one, or in seven. A datagram comes back as one.
#[derive(Debug)]
pub struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

impl DatagramProtocol for Echo {
    fn received(&mut self, _from: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
        reply.send(datagram);
    }
}
