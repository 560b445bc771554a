//! A connection of a loop: on levels, one read and one write for each time that it is told.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What the kernel did not take yet. Nothing is read while there is any.
    pub(crate) pending: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Connection {
        Connection { stream, pending: Vec::new() }
    }

    /// Echoes what one read finds, or writes what is pending, for a level tells of the rest again;
    /// false if the connection is to be closed.
    pub(crate) fn echo(&mut self, buffer: &mut [u8], calls: &mut u64) -> bool {
        *calls += 1;
        if !self.pending.is_empty() {
            return match self.stream.write(&self.pending) {
                Ok(0) => false,
                Ok(written) => {
                    self.pending.drain(..written);
                    true
                }
                Err(error) => spurious(&error),
            };
        }
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(length) => self.write(&buffer[..length], calls),
            Err(error) => spurious(&error),
        }
    }

    /// Writes, and keeps what the kernel does not take; false if the connection is to be closed.
    pub(crate) fn write(&mut self, bytes: &[u8], calls: &mut u64) -> bool {
        *calls += 1;
        let written = match self.stream.write(bytes) {
            Ok(0) => return false,
            Ok(written) => written,
            Err(error) if spurious(&error) => 0,
            Err(_) => return false,
        };
        self.pending.extend_from_slice(&bytes[written..]);
        true
    }
}

fn spurious(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
