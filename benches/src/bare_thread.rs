//! An echo server with a thread for each connection, written by hand: two system calls a
//! request, and no others. Threads have the standard library's stacks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use polyloop::concerns_one_connection;

use crate::{CONNECTION_BUFFER, REST};

/// Serves for ever.
///
/// # Errors
///
/// None; what goes wrong with one connection ends that one only.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let started = thread::Builder::new().spawn(move || {
                    // A failure concerns this connection only, which ends with it.
                    let _ = echo(stream);
                });
                if started.is_err() {
                    thread::sleep(REST);
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => thread::sleep(REST),
        }
    }
}

/// Echoes until the end of the input.
pub(crate) fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; CONNECTION_BUFFER];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => stream.write_all(&buffer[..length])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
