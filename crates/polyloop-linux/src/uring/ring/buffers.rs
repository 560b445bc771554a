//! The memory that input is received into.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::mem;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// A buffer with input, which is the caller's until it is given back.
pub(in super::super) struct Input {
    pub(super) id: u16,
    pub(super) length: usize,
}

impl Input {
    /// As many bytes as there can be in one.
    pub(in super::super) const LONGEST: usize = Buffers::LENGTH;
}

/// Buffers that the kernel chooses from, and the ring in which they are given to it.
pub(super) struct Buffers {
    memory: *mut u8,
    ring: *mut BufRingEntry,
    /// Where the next one is given.
    tail: u16,
}

// SAFETY: the memory belongs to the value alone; who has the value has both.
unsafe impl Send for Buffers {}

impl Buffers {
    /// A power of two, as the kernel asks for. A turn handles about twenty completions before it
    /// gives their buffers back, more if many connections send much; who finds none asks again.
    pub(super) const COUNT: u16 = if cfg!(test) { 2 } else { 256 };
    pub(super) const LENGTH: usize = if cfg!(test) { 64 } else { 16 * 1024 };
    /// A cache line more than the length: small messages, which use the first line of each buffer,
    /// would else share a few sets of the cache.
    const STRIDE: usize = Buffers::LENGTH + 64;

    fn layouts() -> (Layout, Layout) {
        let count = usize::from(Buffers::COUNT);
        // The kernel takes a ring that begins with a page, of whatever size.
        let page = rustix::param::page_size();
        let memory = Layout::from_size_align(count * Buffers::STRIDE, page);
        let ring = Layout::from_size_align(count * mem::size_of::<BufRingEntry>(), page);
        (memory.expect("a few megabytes"), ring.expect("a few kilobytes"))
    }

    pub(super) fn new() -> Buffers {
        let allocate = |layout| {
            // SAFETY: neither of the two is of size zero.
            let memory = unsafe { alloc_zeroed(layout) };
            if memory.is_null() {
                handle_alloc_error(layout);
            }
            memory
        };
        let (memory, ring) = Buffers::layouts();
        let (memory, ring) = (allocate(memory), allocate(ring).cast());
        let mut buffers = Buffers { memory, ring, tail: 0 };
        for id in 0..Buffers::COUNT {
            buffers.provide(id);
        }
        buffers
    }

    /// Where a buffer begins.
    #[inline]
    fn start(&self, id: u16) -> *mut u8 {
        let index = usize::from(id % Buffers::COUNT);
        // SAFETY: the index is that of one of the buffers, all of which are in one allocation.
        unsafe { self.memory.add(index * Buffers::STRIDE) }
    }

    /// Where the kernel finds the ring.
    pub(super) fn address(&self) -> u64 {
        self.ring as u64
    }

    /// Gives a buffer to the kernel.
    #[inline]
    pub(super) fn provide(&mut self, id: u16) {
        let start = self.start(id);
        let place = usize::from(self.tail % Buffers::COUNT);
        // SAFETY: the place is one of the ring's, and the kernel does not look at it before the tail
        // has passed it: as many buffers as there are places can't overtake each other.
        let entry = unsafe { &mut *self.ring.add(place) };
        entry.set_addr(start as u64);
        entry.set_len(Buffers::LENGTH as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is in an unused field of the first entry, aligned, and written by nobody
        // else.
        let tail = unsafe { &*BufRingEntry::tail(self.ring).cast::<AtomicU16>() };
        // The kernel is to see the entry if it sees the tail.
        tail.store(self.tail, Ordering::Release);
    }

    #[inline]
    pub(super) fn bytes(&self, input: &Input) -> &[u8] {
        // SAFETY: the kernel has filled so many bytes of the buffer, which has at least as many, all
        // of them initialized, and has no claim to it until `provide`, for which the `Input` is used
        // up.
        unsafe { std::slice::from_raw_parts(self.start(input.id), input.length) }
    }

    /// Keeps the memory for ever.
    pub(super) fn leak(&mut self) {
        self.memory = std::ptr::null_mut();
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.memory.is_null() {
            return;
        }
        let (memory, ring) = Buffers::layouts();
        // SAFETY: both were allocated with these layouts. The kernel is done with them: the ring
        // that they were registered with is closed, and had nothing in flight.
        unsafe {
            dealloc(self.memory, memory);
            dealloc(self.ring.cast(), ring);
        }
    }
}
