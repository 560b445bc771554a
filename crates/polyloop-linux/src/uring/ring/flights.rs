//! Output on its way to the kernel: whose it is, and the memory in which it is.

use std::mem;

use polyloop::Token;

/// A buffer that grew beyond this for one message is not kept for the next,
const KEEP: usize = 64 * 1024;
/// nor beyond this, if as many as
const KEEP_OF_MANY: usize = 4 * 1024;
/// these are free already: many have fallen behind together, which is over.
const MANY: usize = 256;

/// Output that is back: from when it was sent to when this is handed out, nobody touches its bytes.
/// To be sent on or released.
pub(in crate::uring) struct Flight(u32);

impl Flight {
    /// The flight of that number, whose completion has come.
    pub(super) fn landed(number: usize) -> Flight {
        Flight(number as u32)
    }

    pub(super) fn number(&self) -> u32 {
        self.0
    }
}

/// The buffers that sends are made from.
#[derive(Default)]
pub(super) struct Flights {
    carriers: Vec<Carrier>,
    /// Those that carry nothing at the moment; the last one is the warmest.
    free: Vec<Flight>,
}

struct Carrier {
    bytes: Vec<u8>,
    /// How much of `bytes` the kernel took.
    taken: usize,
    token: Token,
}

impl Flights {
    /// Takes what is to be sent out of `bytes`, and leaves another vector there, which is empty.
    #[inline]
    pub(super) fn board(&mut self, token: Token, bytes: &mut Vec<u8>) -> Flight {
        let flight = self.free.pop().unwrap_or_else(|| self.add());
        let carrier = &mut self.carriers[flight.0 as usize];
        mem::swap(&mut carrier.bytes, bytes);
        carrier.token = token;
        flight
    }

    #[cold]
    fn add(&mut self) -> Flight {
        let bytes = Vec::new();
        self.carriers.push(Carrier { bytes, taken: 0, token: Token::new(0, 0) });
        Flight(self.carriers.len() as u32 - 1)
    }

    /// Whose output it carries.
    #[inline]
    pub(super) fn passenger(&self, flight: &Flight) -> Token {
        self.carriers[flight.0 as usize].token
    }

    /// What the kernel did not take.
    #[inline]
    pub(super) fn rest(&self, flight: &Flight) -> &[u8] {
        let carrier = &self.carriers[flight.0 as usize];
        &carrier.bytes[carrier.taken..]
    }

    /// How much that is.
    #[inline]
    pub(super) fn left(&self, flight: &Flight) -> usize {
        let carrier = &self.carriers[flight.0 as usize];
        carrier.bytes.len() - carrier.taken
    }

    /// The kernel took so much more of it.
    #[inline]
    pub(super) fn take(&mut self, flight: &Flight, count: usize) {
        self.carriers[flight.0 as usize].taken += count;
    }

    /// Forgets what was sent, and what the kernel did not take.
    #[inline]
    pub(super) fn release(&mut self, flight: Flight) {
        let carrier = &mut self.carriers[flight.0 as usize];
        carrier.taken = 0;
        carrier.bytes.clear();
        let keep = if self.free.len() < MANY { KEEP } else { KEEP_OF_MANY };
        if carrier.bytes.capacity() > keep {
            carrier.bytes = Vec::new();
        }
        self.free.push(flight);
    }

    /// Leaves the memory to the kernel, which may still read it.
    pub(super) fn leak(&mut self) {
        mem::forget(mem::take(&mut self.carriers));
    }
}
