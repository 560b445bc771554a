//! An echo server on mio, written by hand: edge-triggered, registered once, no framework.

use std::io::{self, ErrorKind, Read, Write};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use polyloop::concerns_one_connection;
use slab::Slab;

use crate::{publish_system_calls, LOOP_BUFFER, REST};

const LISTENER: Token = Token(usize::MAX);

/// Where mio tells of an out-of-band byte, a read that leaves room in its buffer has emptied
/// the socket unless the event told of such a byte: at that byte a read stops short.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PRIORITY: Option<Interest> = Some(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PRIORITY: Option<Interest> = None;

struct Connection {
    stream: TcpStream,
    /// What the kernel did not take yet. Nothing is read while there is any.
    pending: Vec<u8>,
}

/// Serves for ever.
///
/// # Errors
///
/// What the system says of the wait; what goes wrong with one connection ends that one only.
pub fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut connections: Slab<Connection> = Slab::new();
    let mut buffer = vec![0; LOOP_BUFFER];
    let mut calls = 0;
    // Out of descriptors: an edge tells of a waiting connection only once, so ask again.
    let mut resting = false;
    loop {
        publish_system_calls(calls);
        calls += 1;
        match poll.poll(&mut events, resting.then_some(REST)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        if resting {
            resting = accept(&listener, &poll, &mut connections, &mut calls)?;
        }
        for event in &events {
            if event.token() == LISTENER {
                resting = accept(&listener, &poll, &mut connections, &mut calls)?;
                continue;
            }
            let Some(connection) = connections.get_mut(event.token().0) else {
                continue;
            };
            if !echo(connection, event, &mut buffer, &mut calls) {
                // Closing takes it out of the kernel's set.
                connections.remove(event.token().0);
                calls += 1;
            }
        }
    }
}

/// Accepts until nobody waits; true if the process ran out of something on the way.
fn accept(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Slab<Connection>,
    calls: &mut u64,
) -> io::Result<bool> {
    loop {
        *calls += 1;
        match listener.accept() {
            Ok((mut stream, _)) => {
                *calls += 1;
                let entry = connections.vacant_entry();
                let token = Token(entry.key());
                let both = Interest::READABLE | Interest::WRITABLE;
                let interest = PRIORITY.map_or(both, |priority| both | priority);
                poll.registry().register(&mut stream, token, interest)?;
                entry.insert(Connection { stream, pending: Vec::new() });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => return Ok(true),
        }
    }
}

/// Echoes what there is; false if the connection is to be closed.
fn echo(connection: &mut Connection, event: &Event, buffer: &mut [u8], calls: &mut u64) -> bool {
    while !connection.pending.is_empty() {
        *calls += 1;
        match connection.stream.write(&connection.pending) {
            Ok(0) => return false,
            Ok(written) => {
                connection.pending.drain(..written);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    let short_read_empties =
        PRIORITY.is_some() && !(event.is_priority() || event.is_read_closed() || event.is_error());
    loop {
        *calls += 1;
        let length = match connection.stream.read(buffer) {
            Ok(0) => return false,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return false,
        };
        let mut sent = 0;
        while sent < length {
            *calls += 1;
            match connection.stream.write(&buffer[sent..length]) {
                Ok(0) => return false,
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.pending.extend_from_slice(&buffer[sent..length]);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        if short_read_empties && length < buffer.len() {
            return true;
        }
    }
}
