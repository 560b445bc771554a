//! Where datagrams stand on their way in and out.

use std::net::SocketAddr;

/// The longest datagram of UDP on IPv4, in bytes: a packet of 65,535 without its two headers
/// ([RFC 768](https://www.rfc-editor.org/rfc/rfc768), [RFC 791](https://www.rfc-editor.org/rfc/rfc791)).
pub const LONGEST: usize = 65_507;

/// More than any datagram, of UDP on IPv6 as well.
const WHOLE: usize = 65_536;

/// Room for the datagrams that one call receives.
///
/// Every buffer is longer than the longest datagram that is wanted, so that one which is longer
/// shows by its length, on every system, and is never cut in silence.
#[derive(Debug)]
pub struct Inbox {
    bytes: Box<[u8]>,
    /// From one buffer to the next.
    stride: usize,
    longest: usize,
    heads: Vec<(usize, SocketAddr)>,
}

impl Inbox {
    /// Makes room for `capacity` datagrams of at most `longest` bytes each.
    ///
    /// A single buffer takes any datagram whole, since Windows answers one that does not fit with
    /// an error (`WSAEMSGSIZE`) that hides who sent it. One of several has a byte to spare, and
    /// the kernel cuts what fills it.
    ///
    /// # Panics
    ///
    /// If `capacity` is zero.
    #[must_use]
    pub fn new(capacity: usize, longest: usize) -> Inbox {
        assert!(capacity > 0, "an inbox without room would wait for ever");
        let longest = longest.min(LONGEST);
        let stride = if capacity == 1 {
            WHOLE
        } else {
            // An odd number of cache lines: buffers that are powers of two apart share lines.
            ((longest / 64 + 1) | 1) * 64
        };
        Inbox {
            bytes: vec![0; capacity * stride].into(),
            stride,
            longest,
            heads: Vec::with_capacity(capacity),
        }
    }

    /// Forgets what was received, and returns the buffers for what is to come.
    pub fn buffers(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.heads.clear();
        self.bytes.chunks_exact_mut(self.stride)
    }

    /// Takes note that the next buffer was filled with `length` bytes from `from`.
    ///
    /// # Panics
    ///
    /// If every buffer is filled.
    #[inline]
    pub fn push(&mut self, length: usize, from: SocketAddr) {
        assert!(self.heads.len() < self.heads.capacity(), "more datagrams than buffers");
        self.heads.push((length.min(self.stride), from));
    }

    /// How many datagrams were received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether no datagram was received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Whether there was room for more than was received.
    pub(super) fn has_room(&self) -> bool {
        (self.len() + 1) * self.stride <= self.bytes.len()
    }

    /// What was received: a datagram, or the beginning of one that is too long.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, Result<&[u8], &[u8]>)> {
        let buffers = self.bytes.chunks_exact(self.stride);
        self.heads.iter().zip(buffers).map(|(&(length, from), buffer)| {
            let whole = buffer.get(..length).filter(|_| length <= self.longest);
            (from, whole.ok_or(&buffer[..self.longest]))
        })
    }
}

/// The datagrams that are to be sent, first come, first served.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Where to, and where in `bytes` each ends.
    heads: Vec<(SocketAddr, usize)>,
    /// How many of them are gone.
    sent: usize,
}

/// With room for all that a call may answer, unless the answers are long: then it grows, and stays
/// so. What is not touched of it costs no memory.
impl Default for Outbox {
    fn default() -> Outbox {
        Outbox { bytes: Vec::with_capacity(WHOLE), heads: Vec::with_capacity(64), sent: 0 }
    }
}

impl Outbox {
    /// Adds a datagram.
    #[inline]
    pub fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.heads.push((to, self.bytes.len()));
    }

    /// Whether nothing is to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// How many datagrams are to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len() - self.sent
    }

    /// What is to be sent.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let mut start = match self.sent {
            0 => 0,
            sent => self.heads[sent - 1].1,
        };
        self.heads[self.sent..].iter().map(move |&(to, end)| {
            let datagram = &self.bytes[start..end];
            start = end;
            (to, datagram)
        })
    }

    /// Takes the first `count` datagrams off.
    #[inline]
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.heads.len() {
            self.bytes.clear();
            self.heads.clear();
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_datagram_that_is_too_long_shows_its_beginning() {
        for capacity in [1, 2] {
            let mut inbox = Inbox::new(capacity, 3);
            inbox.buffers().next().unwrap()[..4].copy_from_slice(b"four");
            inbox.push(4, address(1));
            assert_eq!(inbox.iter().next(), Some((address(1), Err(&b"fou"[..]))));
            assert_eq!(inbox.has_room(), capacity == 2);

            inbox.buffers().next().unwrap()[..3].copy_from_slice(b"see");
            inbox.push(3, address(2));
            assert_eq!(inbox.iter().collect::<Vec<_>>(), [(address(2), Ok(&b"see"[..]))]);
        }
    }

    #[test]
    fn every_buffer_has_a_byte_to_spare() {
        for longest in [0, 1, 63, 64, 127, 128, 1500, LONGEST, usize::MAX] {
            let mut inbox = Inbox::new(3, longest);
            assert!(inbox.buffers().all(|buffer| buffer.len() > longest.min(LONGEST)));
            assert_eq!(inbox.buffers().count(), 3);
        }
        assert!(Inbox::new(1, 10).buffers().all(|buffer| buffer.len() > LONGEST));
    }

    #[test]
    fn what_is_to_be_sent_keeps_its_order() {
        let mut outbox = Outbox::default();
        for (port, datagram) in [(1, &b"one"[..]), (2, b""), (3, b"three")] {
            outbox.push(address(port), datagram);
        }
        outbox.advance(1);
        assert_eq!(
            outbox.iter().collect::<Vec<_>>(),
            [(address(2), &b""[..]), (address(3), b"three")]
        );
        outbox.advance(2);
        assert!(outbox.is_empty());
        outbox.push(address(4), b"four");
        assert_eq!(outbox.iter().collect::<Vec<_>>(), [(address(4), &b"four"[..])]);
    }
}
