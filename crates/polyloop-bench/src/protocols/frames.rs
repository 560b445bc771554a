//! The protocol `frames`.

use polyloop::{Connection, Protocol};

/// Says back each frame: its length in four bytes, the highest first, and then so many bytes.
///
/// A frame may be empty. The length is known before the rest has come, so one beyond
/// [`LIMIT`](Frames::LIMIT) ends the connection at once, and the log says why on its level `debug`.
#[derive(Debug)]
pub struct Frames;

impl Frames {
    /// Bytes of the length before a frame.
    pub const HEADER: usize = 4;

    /// How long a frame may be without its header, in bytes: with it a mebibyte, the default of
    /// [`Config::max_input`](polyloop::Config::max_input).
    pub const LIMIT: usize = 1024 * 1024 - Frames::HEADER;
}

impl Protocol for Frames {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        let mut used = 0;
        while let Some((header, rest)) = input[used..].split_first_chunk::<{ Frames::HEADER }>() {
            let length = u32::from_be_bytes(*header) as usize;
            if length > Frames::LIMIT {
                // No warning: whoever connects could write as many as there is room for.
                log::debug!(
                    "{}: closed, it announced a frame of {length} bytes and may send {}",
                    connection.peer(),
                    Frames::LIMIT
                );
                connection.send(&input[..used]);
                connection.close();
                return input.len();
            }
            if rest.len() < length {
                break;
            }
            used += Frames::HEADER + length;
        }
        // All of them at once: one copy, however many frames have come together.
        connection.send(&input[..used]);
        used
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::Peer;
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes(), body].concat()
    }

    #[test]
    fn whole_frames_come_back_and_the_rest_waits() {
        let mut peer = Peer::of(Frames);
        let both = [frame(b"one"), frame(b"")].concat();
        let third = frame(b"three");
        assert_eq!(peer.say(&[&both[..], &third[..2]].concat()), both);
        assert_eq!(peer.say(&third[2..7]), b"");
        assert_eq!(peer.say(&third[7..]), third);
        assert!(peer.is_open());
    }

    #[test]
    fn the_longest_frame_fits() {
        let mut peer = Peer::of(Frames);
        let longest = frame(&vec![7; Frames::LIMIT]);
        assert_eq!(peer.say(&longest[..longest.len() - 1]), b"");
        assert_eq!(peer.say(&longest[longest.len() - 1..]), longest);
    }

    #[test]
    fn a_longer_one_ends_the_connection_once_its_length_is_known() {
        for length in [Frames::LIMIT as u32 + 1, u32::MAX] {
            let mut peer = Peer::of(Frames);
            let before = frame(b"before");
            let said = [&before[..], &length.to_be_bytes()].concat();
            assert_eq!(peer.say(&said), before);
            assert!(!peer.is_open());
        }
    }
}
