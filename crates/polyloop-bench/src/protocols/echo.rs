//! The protocol `echo`.

use polyloop::{Connection, Protocol};

/// Says back what it hears, as it comes (RFC 862). It knows no messages: what was sent in three
/// pieces may come back in one, or in seven.
#[derive(Debug)]
pub struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}
