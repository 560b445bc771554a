//! An echo server with a process for each connection, written by hand: two system calls a request.
//!
//! It has one thread, since a fork copies only one: its parent is answered from the accept loop.
#![allow(unsafe_code)]

use std::io::{self, BufRead};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process;

use nix::unistd::{fork, ForkResult};
use polyloop::concerns_one_connection;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{waitpid, WaitOptions};

use crate::bare_thread::echo;
use crate::{Control, REST};

/// Serves until its parent ends.
///
/// # Errors
///
/// What poll(2) says; what goes wrong with one connection ends that one only.
pub fn serve(listener: TcpListener, control: Option<Control>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let stdin = io::stdin();
    let rest = Timespec::try_from(REST).map_err(io::Error::other)?;
    loop {
        // Nothing tells of a child that has ended but the next look.
        while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
        let mut watched = vec![PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        if control.is_some() {
            watched.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        match poll(&mut watched, Some(&rest)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(control) = control.as_ref().filter(|_| !watched[1].revents().is_empty()) {
            let mut line = String::new();
            stdin.lock().read_line(&mut line)?;
            if line.is_empty() {
                return Ok(());
            }
            control.answer(&line)?;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                // SAFETY: this process has one thread, so that the child is a whole copy of it.
                if let Ok(ForkResult::Child) = unsafe { fork() } {
                    drop(listener);
                    process::exit(i32::from(echo(stream).is_err()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => std::thread::sleep(REST),
        }
    }
}
