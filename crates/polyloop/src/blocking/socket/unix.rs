use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

pub(in crate::blocking) struct Socket(TcpStream);

/// A call that does not block though the socket does. Without `MSG_NOSIGNAL` a peer that left would
/// end the process; Apple's systems have an option instead, which std sets on each socket.
#[cfg(not(target_vendor = "apple"))]
const AT_ONCE: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const AT_ONCE: i32 = libc::MSG_DONTWAIT;

impl Socket {
    /// Fails nowhere but on Windows.
    pub(in crate::blocking) fn new(stream: TcpStream) -> io::Result<Socket> {
        Ok(Socket(stream))
    }

    /// Lets each read wait for so long.
    pub(in crate::blocking) fn limit_reads(&self, limit: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(limit)
    }

    /// Lets each write wait for so long.
    pub(in crate::blocking) fn limit_writes(&self, limit: Option<Duration>) -> io::Result<()> {
        self.0.set_write_timeout(limit)
    }

    /// Waits for input and reads it. `Interrupted` if the thread is to look up from it, `WouldBlock`
    /// or `TimedOut` at the limit.
    pub(in crate::blocking) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Waits for room and writes. `WouldBlock` or `TimedOut` at the limit.
    pub(in crate::blocking) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    /// Writes what the kernel takes, and waits for nothing: `WouldBlock` instead.
    pub(in crate::blocking) fn write_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.0).send_with_flags(bytes, AT_ONCE)
    }

    /// Sends the end of the output.
    pub(in crate::blocking) fn finish(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    /// Ends a `read` of another thread that waits in vain. What has come is still read.
    ///
    /// The shutdown of the reading half discards on the BSDs and on Apple's systems what has come
    /// and was not read. If there is anything, its reader does not wait.
    pub(in crate::blocking) fn wake_reader(&self) {
        if !self.has_input() {
            // A connection that is gone needs no wake.
            let _ = self.0.shutdown(Shutdown::Read);
        }
    }

    /// Whether a `read` would not wait.
    pub(in crate::blocking) fn has_input(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.0).recv_with_flags(&mut byte, libc::MSG_PEEK | AT_ONCE);
        !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Ends the connection, and every call that waits.
    pub(in crate::blocking) fn shut_down(&self) {
        // A connection that is gone needs no wake.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
