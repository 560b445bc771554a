//! An echo server on poll(2), written by hand: two arrays side by side, changes in O(1).
#![allow(unsafe_code)]

use std::io::{self, ErrorKind};
use std::net::TcpListener as BlockingListener;
use std::os::fd::{AsRawFd, BorrowedFd};

// Sockets of mio are non-blocking from accept4(2) on, and have nothing else to do with it here.
use mio::net::{TcpListener, TcpStream};
use polyloop::concerns_one_connection;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::connection::Connection;
use crate::{publish_system_calls, LOOP_BUFFER, REST};

/// What is watched. Entry 0 is the listener, entry `i + 1` belongs to connection `i`.
struct Watched {
    entries: Vec<PollFd<'static>>,
    connections: Vec<Connection>,
}

impl Watched {
    fn add(&mut self, stream: TcpStream) {
        self.entries.push(entry(&stream, PollFlags::IN));
        self.connections.push(Connection::new(stream));
    }

    /// Takes a connection out and closes it; the last one takes its place.
    fn remove(&mut self, index: usize) {
        self.entries.swap_remove(index + 1);
        self.connections.swap_remove(index);
    }
}

fn entry(socket: &impl AsRawFd, interest: PollFlags) -> PollFd<'static> {
    // SAFETY: the descriptor is open, and stays so as long as its entry: the listener lives
    // as long as the loop, a connection leaves both arrays at once, in `Watched::remove`.
    let descriptor = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    PollFd::from_borrowed_fd(descriptor, interest)
}

/// Serves for ever.
///
/// # Errors
///
/// What poll(2) says; what goes wrong with one connection ends that one only.
pub fn serve(listener: BlockingListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener);
    let mut watched =
        Watched { entries: vec![entry(&listener, PollFlags::IN)], connections: Vec::new() };
    let rest = Timespec::try_from(REST).map_err(io::Error::other)?;
    let mut buffer = vec![0; LOOP_BUFFER];
    let mut calls = 0;
    // Out of descriptors: the listener would be ready again at once, so leave it out a while.
    let mut resting = false;
    loop {
        publish_system_calls(calls);
        calls += 1;
        let skip = usize::from(resting);
        let mut ready = match poll(&mut watched.entries[skip..], resting.then_some(&rest)) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        if resting || !watched.entries[0].revents().is_empty() {
            ready -= usize::from(!resting);
            resting = accept(&listener, &mut watched, &mut calls);
        }
        let mut index = 0;
        while ready > 0 && index < watched.connections.len() {
            let told = watched.entries[index + 1].revents();
            if told.is_empty() {
                index += 1;
                continue;
            }
            ready -= 1;
            let connection = &mut watched.connections[index];
            let blocked = !connection.pending.is_empty();
            if connection.echo(&mut buffer, &mut calls) {
                if blocked == connection.pending.is_empty() {
                    let interest = if blocked { PollFlags::IN } else { PollFlags::OUT };
                    watched.entries[index + 1] = entry(&connection.stream, interest);
                }
                index += 1;
            } else {
                watched.remove(index);
                calls += 1;
            }
        }
    }
}

/// Accepts until nobody waits; true if the process ran out of something on the way.
fn accept(listener: &TcpListener, watched: &mut Watched, calls: &mut u64) -> bool {
    loop {
        *calls += 1;
        match listener.accept() {
            Ok((stream, _)) => watched.add(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => return true,
        }
    }
}
