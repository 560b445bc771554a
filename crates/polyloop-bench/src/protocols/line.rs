//! The protocol `line`.

use memchr::memchr;
use polyloop::{Connection, Protocol};

/// Says back each whole line, its end included. A line `##` ends the connection; what follows it
/// is not looked at.
///
/// A line ends with a line feed, which a carriage return may precede. One that is longer than
/// [`Config::max_input`](polyloop::Config::max_input) ends the connection; one that is unfinished
/// when the peer leaves is lost.
#[derive(Debug, Default)]
pub struct Line {
    finder: Finder,
}

impl Protocol for Line {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        let mut used = 0;
        while let Some(length) = self.finder.line(&input[used..]) {
            if is_farewell(&input[used..used + length]) {
                connection.send(&input[..used]);
                connection.close();
                return input.len();
            }
            used += length;
        }
        // All of them at once: one copy, however many lines have come together.
        connection.send(&input[..used]);
        used
    }
}

/// Whether the line asks for the connection's end.
pub(super) fn is_farewell(line: &[u8]) -> bool {
    matches!(line, b"##\n" | b"##\r\n")
}

/// Finds whole lines in input that comes in pieces, and looks at no byte twice: a line that comes
/// byte by byte would else cost the square of its length.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// Bytes at the front of the input that hold no line's end.
    searched: usize,
}

impl Finder {
    /// The length of the line at the front of `input`, if it is whole. `input` begins with what
    /// the last call left unfinished.
    pub(super) fn line(&mut self, input: &[u8]) -> Option<usize> {
        let from = self.searched.min(input.len());
        match memchr(b'\n', &input[from..]) {
            Some(at) => {
                self.searched = 0;
                Some(from + at + 1)
            }
            None => {
                self.searched = input.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::Peer;
    use super::*;

    #[test]
    fn whole_lines_come_back_and_the_rest_waits() {
        let mut peer = Peer::of(Line::default());
        assert_eq!(peer.say(b"one\ntwo\nth"), b"one\ntwo\n");
        assert_eq!(peer.say(b"ree\r\n\n"), b"three\r\n\n");
        assert!(peer.is_open());
    }

    #[test]
    fn two_hashes_on_a_line_of_their_own_end_it() {
        for farewell in ["##\n", "##\r\n"] {
            let mut peer = Peer::of(Line::default());
            let said = format!("###\n ##\n#\n{farewell}too late\n");
            assert_eq!(peer.say(said.as_bytes()), b"###\n ##\n#\n");
            assert!(!peer.is_open());
        }
    }

    #[test]
    fn no_byte_is_looked_at_twice() {
        let mut finder = Finder::default();
        assert_eq!(finder.line(b"abc"), None);
        assert_eq!(finder.searched, 3);
        // What was searched is not searched again, even for what was not there.
        assert_eq!(finder.line(b"a\nc"), None);
        assert_eq!(finder.line(b"abcd\nef"), Some(5));
        assert_eq!(finder.line(b"ef"), None);
        assert_eq!(finder.line(b"ef\n"), Some(3));
    }

    #[test]
    fn a_line_without_end_ends_the_connection() {
        let mut peer = Peer::of(Line::default());
        let piece = [b'x'; 64 * 1024];
        let pieces = (0..100).take_while(|_| {
            peer.say(&piece);
            peer.is_open()
        });
        assert_eq!(pieces.count(), 16);
    }
}
