//! Output with several authors: the connection's own thread, and whoever has a handle.

use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use super::{Member, Shared};
use crate::handle::Remote;
use crate::machine::Ended;
use crate::{Closed, Tick, Token};

/// What one write takes at most, of those that wait until the kernel has taken all.
const PIECE: usize = 64 * 1024;

/// What is to be written on a connection that others send on as well.
///
/// A sender writes what the kernel takes, under the lock and without blocking. If something is
/// left, the sender who finds it so starts a thread that writes the rest, blocking, and ends when
/// there is none: a reader who keeps up costs no thread, and one who is slow holds up nobody else.
/// The connection's own thread sends in the same way, and then waits while more is queued than the
/// high-water mark allows.
pub(super) struct Outbox {
    /// For the thread that flushes.
    myself: Weak<Outbox>,
    pending: Mutex<Pending>,
    /// Something was written, or the connection is to end.
    moved: Condvar,
    shared: Arc<Shared>,
}

struct Pending {
    /// `None` once the connection has ended: a forgotten handle keeps no socket open.
    member: Option<Arc<Member>>,
    bytes: Vec<u8>,
    /// Bytes that the flushing thread has taken and not written yet.
    in_flight: usize,
    flushing: bool,
    closing: bool,
    /// What others send now is dropped: the protocol has sent its last byte, or the connection is
    /// closing.
    finished: bool,
    /// What the connection sent itself through a handle during a call of its protocol, whose output
    /// goes first.
    later: Vec<u8>,
    close_later: bool,
    broken: Option<Closed>,
    /// When the kernel last took something.
    sent: Tick,
}

impl Pending {
    fn len(&self) -> usize {
        self.bytes.len() + self.in_flight
    }

    fn is_own_thread(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.thread.id() == thread::current().id())
    }

    /// Ends the connection: the thread that reads it sees the end of input and looks here.
    fn shut_down(&mut self, reason: Closed) {
        self.broken.get_or_insert(reason);
        if let Some(member) = &self.member {
            member.socket.shut_down();
            member.thread.unpark();
        }
    }
}

impl Outbox {
    pub(super) fn new(shared: Arc<Shared>, member: Arc<Member>) -> Arc<Outbox> {
        Arc::new_cyclic(|myself| Outbox {
            myself: myself.clone(),
            pending: Mutex::new(Pending {
                member: Some(member),
                bytes: Vec::new(),
                in_flight: 0,
                flushing: false,
                closing: false,
                finished: false,
                later: Vec::new(),
                close_later: false,
                broken: None,
                sent: Tick::now(),
            }),
            moved: Condvar::new(),
            shared,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // The fields are whole between any two statements that can panic.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what the kernel does not take at once, and says how much was taken: all of it.
    pub(super) fn push(&self, bytes: &[u8]) -> io::Result<usize> {
        self.push_locked(self.lock(), bytes)
    }

    fn push_locked(&self, mut pending: MutexGuard<'_, Pending>, bytes: &[u8]) -> io::Result<usize> {
        let Some(member) = pending.member.clone() else { return Ok(bytes.len()) };
        if pending.broken.is_some() {
            return Ok(bytes.len());
        }
        let mut taken = 0;
        if pending.len() == 0 && !pending.flushing {
            member.shared_writes.add(1);
            taken = match member.socket.write_at_once(bytes) {
                Ok(taken) => {
                    pending.sent = Tick::now();
                    taken
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => {
                    pending.shut_down(Closed::from_error(&error));
                    self.moved.notify_all();
                    return Err(error);
                }
            };
        }
        if taken < bytes.len() {
            pending.bytes.extend_from_slice(&bytes[taken..]);
            if pending.len() > self.shared.config.max_output {
                pending.shut_down(Closed::OutputTooLong);
                self.moved.notify_all();
            } else if !pending.flushing {
                self.start_flushing(&mut pending, member);
            }
        }
        Ok(bytes.len())
    }

    fn start_flushing(&self, pending: &mut Pending, member: Arc<Member>) {
        let Some(outbox) = self.myself.upgrade() else { return };
        let started = match self.shared.writer() {
            Some(writer) => {
                let thread = thread::Builder::new().name("polyloop flush".into());
                thread.spawn(move || {
                    outbox.flush(&member);
                    drop(writer);
                })
            }
            None => {
                let message = format!("a server has {} at most", self.shared.most_threads);
                Err(io::Error::new(io::ErrorKind::OutOfMemory, message))
            }
        };
        match started {
            Ok(_) => pending.flushing = true,
            Err(error) => {
                log::error!("no thread for a slow reader: {error}; it is disconnected");
                pending.shut_down(Closed::Failed(error.kind()));
                self.moved.notify_all();
            }
        }
    }

    fn flush(&self, member: &Member) {
        let mut pending = self.lock();
        while !pending.bytes.is_empty() && pending.broken.is_none() {
            let bytes = mem::take(&mut pending.bytes);
            pending.in_flight = bytes.len();
            drop(pending);
            pending = self.write(member, &bytes);
        }
        pending.flushing = false;
        if pending.closing && pending.broken.is_none() {
            pending.shut_down(Closed::Finished);
        }
    }

    /// Writes all, blocking, piece by piece: what a slow reader has taken counts at once.
    fn write(&self, member: &Member, bytes: &[u8]) -> MutexGuard<'_, Pending> {
        let mut left = bytes;
        loop {
            let written = member.socket.write(&left[..left.len().min(PIECE)]);
            let mut pending = self.lock();
            member.shared_writes.add(1);
            match written {
                Ok(0) => pending.shut_down(Closed::Failed(io::ErrorKind::WriteZero)),
                Ok(count) => {
                    left = &left[count..];
                    pending.in_flight = left.len();
                    pending.sent = Tick::now();
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        pending.shut_down(Closed::WriteTimeout);
                    }
                    _ => pending.shut_down(Closed::from_error(&error)),
                },
            }
            self.moved.notify_all();
            if left.is_empty() || pending.broken.is_some() {
                return pending;
            }
        }
    }

    /// When the kernel last took something.
    pub(super) fn last_sent(&self) -> Tick {
        self.lock().sent
    }

    /// Whether the connection is to end for what happened here.
    pub(super) fn check(&self) -> Ended {
        let pending = self.lock();
        match pending.broken {
            Some(reason) => Err(reason),
            None if pending.closing && pending.len() == 0 => Err(Closed::Finished),
            None => Ok(()),
        }
    }

    /// Waits, if more is queued than the high-water mark allows, for the low one.
    pub(super) fn wait_for_room(&self) -> Ended {
        if self.lock().len() <= self.shared.config.high_water {
            return Ok(());
        }
        self.wait_for(self.shared.config.low_water)
    }

    /// Takes nothing more from others, and waits until all is written.
    pub(super) fn finish(&self) -> Ended {
        self.lock().finished = true;
        self.wait_for(0)
    }

    /// The connection's own thread has written what came of a call: what it sent through a handle
    /// meanwhile comes next.
    pub(super) fn after_call(&self) {
        let mut pending = self.lock();
        let (later, close) = (mem::take(&mut pending.later), mem::take(&mut pending.close_later));
        drop(pending);
        if !later.is_empty() {
            // An error has ended the connection, which the next look at it says.
            let _ = self.push(&later);
        }
        if close {
            self.close_now();
        }
    }

    fn close_now(&self) {
        let mut pending = self.lock();
        pending.finished = true;
        pending.closing = true;
        if pending.len() == 0 {
            pending.shut_down(Closed::Finished);
        }
        self.moved.notify_all();
    }

    fn wait_for(&self, most: usize) -> Ended {
        let mut pending = self.lock();
        while pending.len() > most {
            if let Some(reason) = pending.broken {
                return Err(reason);
            }
            pending = self.moved.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// The connection has ended.
    pub(super) fn end(&self) {
        let mut pending = self.lock();
        pending.shut_down(Closed::Finished);
        pending.member = None;
        self.moved.notify_all();
    }
}

impl Remote for Outbox {
    fn send(&self, _: Token, bytes: Arc<[u8]>) {
        let mut pending = self.lock();
        if pending.finished || pending.close_later {
            return;
        }
        if pending.is_own_thread() {
            pending.later.extend_from_slice(&bytes);
            return;
        }
        // An error has ended the connection, and its own thread says why.
        let _ = self.push_locked(pending, &bytes);
    }

    fn close(&self, _: Token) {
        let mut pending = self.lock();
        if pending.is_own_thread() {
            pending.close_later = true;
            return;
        }
        drop(pending);
        self.close_now();
    }
}
