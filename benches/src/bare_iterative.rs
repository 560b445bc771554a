//! An echo server with one connection at a time, written by hand: two system calls a request.

use std::io;
use std::net::TcpListener;
use std::thread;

use polyloop::concerns_one_connection;

use crate::bare_thread::echo;
use crate::REST;

/// Serves for ever.
///
/// # Errors
///
/// None; what goes wrong with one connection ends that one only.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    one_after_another(&listener)
}

pub(crate) fn one_after_another(listener: &TcpListener) -> ! {
    loop {
        match listener.accept() {
            // A failure concerns this connection only, which ends with it.
            Ok((stream, _)) => drop(echo(stream)),
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => thread::sleep(REST),
        }
    }
}
