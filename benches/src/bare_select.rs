//! An echo server on select(2), written by hand: sets that are kept, and copied for each call.
#![allow(unsafe_code)]

use std::io::{self, ErrorKind};
use std::net::TcpListener as BlockingListener;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use libc::{fd_set, FD_CLR, FD_ISSET, FD_SET, FD_SETSIZE, FD_ZERO};
// Sockets of mio are non-blocking from accept4(2) on, and have nothing else to do with it here.
use mio::net::TcpListener;
use polyloop::concerns_one_connection;

use crate::connection::Connection;
use crate::{publish_system_calls, LOOP_BUFFER, REST};

struct Server {
    readable: Set,
    writable: Set,
    /// How many are in `writable`: an empty set is not handed over.
    blocked: usize,
    listener: TcpListener,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    calls: u64,
}

#[derive(Clone, Copy)]
struct Set(fd_set);

impl Set {
    fn new() -> Set {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: FD_ZERO writes all of the set.
        unsafe {
            FD_ZERO(set.as_mut_ptr());
            Set(set.assume_init())
        }
    }

    fn insert(&mut self, descriptor: RawFd) {
        // SAFETY: `Server::accept` lets in only what is below FD_SETSIZE.
        unsafe { FD_SET(descriptor, &mut self.0) }
    }

    fn remove(&mut self, descriptor: RawFd) {
        // SAFETY: as in `insert`.
        unsafe { FD_CLR(descriptor, &mut self.0) }
    }

    fn contains(&self, descriptor: RawFd) -> bool {
        // SAFETY: as in `insert`.
        unsafe { FD_ISSET(descriptor, &self.0) }
    }
}

/// Serves for ever.
///
/// # Errors
///
/// What select(2) says; what goes wrong with one connection ends that one only.
pub fn serve(listener: BlockingListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener);
    let mut server = Server {
        readable: Set::new(),
        writable: Set::new(),
        blocked: 0,
        listener,
        connections: Vec::new(),
        calls: 0,
    };
    let door = server.listener.as_raw_fd();
    server.readable.insert(door);
    let mut buffer = vec![0; LOOP_BUFFER];
    // Out of descriptors: the listener would be ready again at once, so leave it out a while.
    let mut resting = false;
    loop {
        publish_system_calls(server.calls);
        server.calls += 1;
        let (mut readable, mut writable) = (server.readable, server.writable);
        let mut rest = libc::timeval { tv_sec: 0, tv_usec: REST.subsec_micros() as _ };
        // SAFETY: all pointers are null or point to what lives on this stack; no descriptor is past
        // the sets. Every one in them is open, since `close` takes it out.
        let told = unsafe {
            libc::select(
                server.connections.len().max(door as usize + 1) as i32,
                &mut readable.0,
                if server.blocked > 0 { &mut writable.0 } else { ptr::null_mut() },
                ptr::null_mut(),
                if resting { &mut rest } else { ptr::null_mut() },
            )
        };
        if told < 0 {
            match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => continue,
                error => return Err(error),
            }
        }
        if resting {
            server.readable.insert(door);
            resting = false;
        }
        let mut left = told;
        let mut descriptor = 0;
        while left > 0 && descriptor < server.connections.len().max(door as usize + 1) {
            let number = descriptor as RawFd;
            descriptor += 1;
            let room = server.blocked > 0 && writable.contains(number);
            if !room && !readable.contains(number) {
                continue;
            }
            left -= 1;
            if number != door {
                server.echo(number, &mut buffer);
            } else if server.accept() {
                server.readable.remove(door);
                resting = true;
            }
        }
    }
}

impl Server {
    /// Accepts until nobody waits; true if the process ran out of something on the way.
    fn accept(&mut self) -> bool {
        loop {
            self.calls += 1;
            match self.listener.accept() {
                Ok((stream, _)) if stream.as_raw_fd() as usize >= FD_SETSIZE => {
                    self.calls += 1; // it is closed
                }
                Ok((stream, _)) => {
                    let descriptor = stream.as_raw_fd();
                    self.readable.insert(descriptor);
                    let place = descriptor as usize;
                    if place >= self.connections.len() {
                        self.connections.resize_with(place + 1, || None);
                    }
                    self.connections[place] = Some(Connection::new(stream));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if concerns_one_connection(&error) => {}
                Err(_) => return true,
            }
        }
    }

    /// Echoes what one read finds, for select(2) tells of the rest again.
    fn echo(&mut self, descriptor: RawFd, buffer: &mut [u8]) {
        let Some(connection) = &mut self.connections[descriptor as usize] else { return };
        let blocked = !connection.pending.is_empty();
        let open = connection.echo(buffer, &mut self.calls);
        match (blocked, open && !connection.pending.is_empty()) {
            (false, true) => {
                self.readable.remove(descriptor);
                self.writable.insert(descriptor);
                self.blocked += 1;
            }
            (true, false) => {
                self.writable.remove(descriptor);
                self.readable.insert(descriptor);
                self.blocked -= 1;
            }
            _ => {}
        }
        if !open {
            self.readable.remove(descriptor);
            self.connections[descriptor as usize] = None;
            self.calls += 1;
        }
    }
}
