//! An echo server on `io_uring`, written by hand: a multishot accept, a multishot receive for each
//! connection into buffers that all share, and one call for all that a turn asks for.
#![allow(unsafe_code)]

use std::alloc::{alloc_zeroed, Layout};
use std::io;
use std::mem;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::{publish_system_calls, CONNECTION_BUFFER, LOOP_BUFFER, REST};
use io_uring::cqueue::{buffer_select, more};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{opcode, IoUring};
use rustix::io::Errno;
use slab::Slab;

const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const IGNORED: u64 = 4 << 32;
const KIND: u64 = 0xf << 32;

/// Buffers that receives share, and the group by which the kernel knows them.
const BUFFERS: u16 = 256;
const GROUP: u16 = 0;
/// Small messages use the first line of each buffer, which are not to share a place in the cache.
const STRIDE: usize = CONNECTION_BUFFER + 64;

struct Connection {
    socket: RawFd,
    /// What the kernel sends, from `sent` on: not to be touched before it says so.
    sending: Vec<u8>,
    sent: usize,
    /// What came meanwhile, and is sent next.
    pending: Vec<u8>,
    send: bool,
    receive: bool,
    /// The receive was told to stop, for what is pending.
    paused: bool,
    /// The peer has ended: closed when all is sent.
    ended: bool,
    /// Gone, but for what the kernel still does about it.
    closed: bool,
}

struct Server {
    ring: IoUring,
    listener: RawFd,
    buffers: Buffers,
    connections: Slab<Box<Connection>>,
}

/// Serves for ever.
///
/// # Errors
///
/// What `io_uring` says; what goes wrong with one connection ends that one only.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(4096)
        .build(1024)?;
    let buffers = Buffers::new();
    // SAFETY: the memory is never freed.
    unsafe {
        let address = buffers.ring as u64;
        ring.submitter().register_buf_ring_with_flags(address, BUFFERS, GROUP, 0)?;
    }
    let listener = listener.as_raw_fd();
    let mut server = Server { ring, listener, buffers, connections: Slab::new() };
    server.accept();
    let rest = Timespec::from(REST);
    let mut calls = 0;
    // Out of descriptors: the accept is over, and would be again at once.
    let mut resting = false;
    loop {
        publish_system_calls(calls);
        calls += 1;
        let submitter = server.ring.submitter();
        let submitted = if resting {
            submitter.submit_with_args(1, &SubmitArgs::new().timespec(&rest))
        } else {
            submitter.submit_and_wait(1)
        };
        if let Err(error) = submitted {
            let passing = [Errno::INTR, Errno::TIME, Errno::BUSY, Errno::AGAIN];
            if !passing.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
                return Err(error);
            }
        }
        if mem::take(&mut resting) {
            server.accept();
        }
        loop {
            let Some(entry) = server.ring.completion().next() else { break };
            let (name, result, flags) = (entry.user_data(), entry.result(), entry.flags());
            let key = name as u32 as usize;
            match name & KIND {
                RECEIVE => server.received(key, result, buffer_select(flags), more(flags)),
                SEND => server.sent(key, result),
                ACCEPT => {
                    if result >= 0 {
                        server.open(result);
                    }
                    if !more(flags) {
                        resting = result < 0;
                        if !resting {
                            server.accept();
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

impl Server {
    fn push(&mut self, entry: Entry) {
        // SAFETY: an entry points to nothing, or to what a connection sends, which stays until the
        // completion has come.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // It is full. An error leaves it so, and shows again in the loop.
            let _ = self.ring.submit();
        }
    }

    fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC.bits() as i32;
        let entry = opcode::AcceptMulti::new(Fd(self.listener)).flags(flags).build();
        self.push(entry.user_data(ACCEPT));
    }

    fn open(&mut self, socket: RawFd) {
        let key = self.connections.insert(Box::new(Connection {
            socket,
            sending: Vec::new(),
            sent: 0,
            pending: Vec::new(),
            send: false,
            receive: false,
            paused: false,
            ended: false,
            closed: false,
        }));
        self.receive(key);
    }

    fn receive(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        connection.receive = true;
        let entry = opcode::RecvMulti::new(Fd(connection.socket), GROUP).build();
        self.push(entry.user_data(RECEIVE | key as u64));
    }

    fn send(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        connection.send = true;
        let rest = &connection.sending[connection.sent..];
        let (start, length) = (rest.as_ptr(), rest.len() as u32);
        let entry = opcode::Send::new(Fd(connection.socket), start, length)
            .flags(rustix::net::SendFlags::NOSIGNAL.bits() as i32)
            .build();
        self.push(entry.user_data(SEND | key as u64));
    }

    fn received(&mut self, key: usize, result: i32, buffer: Option<u16>, more: bool) {
        let connection = &mut self.connections[key];
        connection.receive = more;
        if let Some(id) = buffer {
            let input = self.buffers.bytes(id, result);
            if !connection.send && !connection.closed {
                connection.sending.extend_from_slice(input);
                self.buffers.provide(id);
                self.send(key);
            } else {
                connection.pending.extend_from_slice(input);
                self.buffers.provide(id);
                self.pause(key);
            }
            if more {
                return;
            }
        }
        let connection = &mut self.connections[key];
        if connection.closed {
            return self.forget(key);
        }
        match result {
            0 => {
                connection.ended = true;
                if !connection.send {
                    self.close(key);
                }
            }
            _ if connection.paused => self.resume(key),
            // The last buffer was taken, or the kernel had enough for the moment.
            _ if result > 0 || result == -Errno::NOBUFS.raw_os_error() => self.receive(key),
            _ => self.close(key),
        }
    }

    /// Receives nothing more while much is pending.
    fn pause(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if connection.pending.len() > LOOP_BUFFER && !connection.paused {
            connection.paused = true;
            if connection.receive {
                self.cancel(RECEIVE | key as u64);
            }
        }
    }

    fn cancel(&mut self, name: u64) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(name)).build();
        self.push(entry.user_data(IGNORED).flags(Flags::SKIP_SUCCESS));
    }

    fn sent(&mut self, key: usize, result: i32) {
        let connection = &mut self.connections[key];
        connection.send = false;
        if connection.closed {
            return self.forget(key);
        }
        if result <= 0 {
            return self.close(key);
        }
        connection.sent += result as usize;
        if connection.sent < connection.sending.len() {
            return self.send(key);
        }
        connection.sending.clear();
        connection.sent = 0;
        if !connection.pending.is_empty() {
            mem::swap(&mut connection.sending, &mut connection.pending);
            return self.send(key);
        }
        if connection.ended {
            return self.close(key);
        }
        if connection.paused {
            self.resume(key);
        }
    }

    /// Receives again when everything is sent, and the last receive is over.
    fn resume(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if !connection.send && !connection.receive {
            connection.paused = false;
            self.receive(key);
        }
    }

    fn close(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        connection.closed = true;
        let (socket, send, receive) = (connection.socket, connection.send, connection.receive);
        if receive {
            self.cancel(RECEIVE | key as u64);
        }
        if send {
            self.cancel(SEND | key as u64);
        }
        let entry = opcode::Close::new(Fd(socket)).build();
        self.push(entry.user_data(IGNORED).flags(Flags::SKIP_SUCCESS));
        self.forget(key);
    }

    /// Its place is free when the kernel does nothing about it any more.
    fn forget(&mut self, key: usize) {
        let connection = &self.connections[key];
        if !connection.send && !connection.receive {
            self.connections.remove(key);
        }
    }
}

/// Buffers that receives share, and the ring in which they are given to the kernel.
struct Buffers {
    memory: *mut u8,
    ring: *mut BufRingEntry,
    tail: u16,
}

impl Buffers {
    fn new() -> Buffers {
        let pages = |size| {
            let layout = Layout::from_size_align(size, 4096).expect("a few megabytes");
            // SAFETY: the size is not zero.
            let memory = unsafe { alloc_zeroed(layout) };
            assert!(!memory.is_null(), "no memory for buffers");
            memory
        };
        let memory = pages(usize::from(BUFFERS) * STRIDE);
        let ring = pages(usize::from(BUFFERS) * mem::size_of::<BufRingEntry>()).cast();
        let mut buffers = Buffers { memory, ring, tail: 0 };
        for id in 0..BUFFERS {
            buffers.provide(id);
        }
        buffers
    }

    fn bytes(&self, id: u16, length: i32) -> &[u8] {
        // SAFETY: the kernel has filled so much of the buffer, and has no claim to it any more.
        unsafe {
            let start = self.memory.add(usize::from(id) * STRIDE);
            std::slice::from_raw_parts(start, length as usize)
        }
    }

    fn provide(&mut self, id: u16) {
        // SAFETY: the place is within the ring, and the kernel does not look at it before the tail
        // has passed it; the tail is in the first entry, and written here only.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(self.memory.add(usize::from(id) * STRIDE) as u64);
            entry.set_len(CONNECTION_BUFFER as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = &*BufRingEntry::tail(self.ring).cast::<AtomicU16>();
            tail.store(self.tail, Ordering::Release);
        }
    }
}
