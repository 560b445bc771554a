//! An echo server on epoll, written by hand: level-triggered with one read an event, or
//! edge-triggered, registered once and read until it is empty.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener as BlockingListener;

// Sockets of mio are non-blocking from accept4(2) on, and have nothing else to do with it here.
use mio::net::TcpListener;
use polyloop::concerns_one_connection;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use slab::Slab;

use crate::connection::Connection;
use crate::{publish_system_calls, LOOP_BUFFER, REST};

/// How the kernel tells readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Trigger {
    /// Again and again, for as long as it lasts.
    Level,
    /// Once, when it begins.
    Edge,
}

const LISTENER: u64 = u64::MAX;

/// At each of these a read stops short of what stands behind.
const NO_SIGN: EventFlags =
    EventFlags::PRI.union(EventFlags::RDHUP).union(EventFlags::HUP).union(EventFlags::ERR);

struct Server {
    epoll: OwnedFd,
    trigger: Trigger,
    listener: TcpListener,
    connections: Slab<Connection>,
    calls: u64,
}

/// Serves for ever.
///
/// # Errors
///
/// What epoll says; what goes wrong with one connection ends that one only.
pub fn serve(listener: BlockingListener, trigger: Trigger) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut server = Server { epoll, trigger, listener, connections: Slab::new(), calls: 0 };
    let rest = Timespec::try_from(REST).map_err(io::Error::other)?;
    let mut buffer = vec![0; LOOP_BUFFER];
    let mut events = [MaybeUninit::uninit(); 1024];
    // Out of descriptors: the listener would be ready again at once, so leave it out a while.
    let mut resting = false;
    loop {
        publish_system_calls(server.calls);
        server.calls += 1;
        let told = match epoll::wait(&server.epoll, &mut events[..], resting.then_some(&rest)) {
            Err(Errno::INTR) => continue,
            told => told?.0,
        };
        if resting {
            server.listen(EventFlags::IN)?;
            resting = false;
        }
        for event in told {
            let (flags, data) = (event.flags, event.data.u64());
            if data == LISTENER {
                resting = server.accept()?;
                continue;
            }
            if !server.echo(data, flags, &mut buffer)? {
                // Closing takes it out of the kernel's set.
                server.connections.remove(data as usize);
                server.calls += 1;
            }
        }
        if resting {
            server.listen(EventFlags::empty())?;
        }
    }
}

impl Server {
    fn listen(&mut self, interest: EventFlags) -> io::Result<()> {
        self.calls += 1;
        let listener = EventData::new_u64(LISTENER);
        Ok(epoll::modify(&self.epoll, &self.listener, listener, interest)?)
    }

    /// Accepts until nobody waits; true if the process ran out of something on the way.
    fn accept(&mut self) -> io::Result<bool> {
        loop {
            self.calls += 1;
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.calls += 1;
                    let entry = self.connections.vacant_entry();
                    let interest = match self.trigger {
                        Trigger::Level => EventFlags::IN,
                        Trigger::Edge => {
                            let both = EventFlags::IN | EventFlags::OUT;
                            both | EventFlags::RDHUP | EventFlags::PRI | EventFlags::ET
                        }
                    };
                    let name = EventData::new_u64(entry.key() as u64);
                    epoll::add(&self.epoll, &stream, name, interest)?;
                    entry.insert(Connection::new(stream));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if concerns_one_connection(&error) => {}
                Err(_) => return Ok(true),
            }
        }
    }

    /// Echoes what there is; false if the connection is to be closed.
    fn echo(&mut self, name: u64, told: EventFlags, buffer: &mut [u8]) -> io::Result<bool> {
        let connection = &mut self.connections[name as usize];
        if self.trigger == Trigger::Edge {
            return Ok(echo_all(connection, told, buffer, &mut self.calls));
        }
        let blocked = !connection.pending.is_empty();
        let open = connection.echo(buffer, &mut self.calls);
        if open && blocked == connection.pending.is_empty() {
            self.calls += 1;
            let interest = if blocked { EventFlags::IN } else { EventFlags::OUT };
            epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(name), interest)?;
        }
        Ok(open)
    }
}

/// Echoes until a read finds nothing, or says that there is nothing more; false if the connection is
/// to be closed.
fn echo_all(
    connection: &mut Connection,
    told: EventFlags,
    buffer: &mut [u8],
    calls: &mut u64,
) -> bool {
    loop {
        if !connection.pending.is_empty() {
            if !write_pending(connection, calls) {
                return false;
            }
            if !connection.pending.is_empty() {
                return true;
            }
        }
        *calls += 1;
        let length = match connection.stream.read(buffer) {
            Ok(0) => return false,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        if !connection.write(&buffer[..length], calls) {
            return false;
        }
        let empty = length < buffer.len() && !told.intersects(NO_SIGN);
        if empty && connection.pending.is_empty() {
            return true;
        }
    }
}

/// Writes until nothing is left, or the kernel takes no more.
fn write_pending(connection: &mut Connection, calls: &mut u64) -> bool {
    while !connection.pending.is_empty() {
        *calls += 1;
        match connection.stream.write(&connection.pending) {
            Ok(0) => return false,
            Ok(written) => drop(connection.pending.drain(..written)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}
