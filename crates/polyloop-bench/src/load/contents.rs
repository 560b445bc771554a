//! What the messages consist of: bytes that follow from the connection and the number of
//! the request, so that an answer can be checked to the last byte without keeping a copy.

use super::messages::Which;

/// The contents of every message of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents {
    seed: u64,
}

impl Contents {
    pub(super) fn new(seed: u64) -> Self {
        Contents { seed: mix(seed) }
    }

    /// Writes the bytes from `offset` on of one message into `out`.
    pub(super) fn fill(&self, (connection, sequence): Which, offset: usize, out: &mut [u8]) {
        let message = mix(self.seed ^ (u64::from(connection) << 32 | u64::from(sequence)));
        let mut index = (offset / 8) as u64;
        let skip = offset % 8;
        let out = if skip == 0 {
            out
        } else {
            let head = (8 - skip).min(out.len());
            let (first, rest) = out.split_at_mut(head);
            first.copy_from_slice(&word(message, index)[skip..skip + head]);
            index += 1;
            rest
        };
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&word(message, index)[..chunk.len()]);
            index += 1;
        }
    }
}

/// The eight bytes at one place of a message.
fn word(message: u64, index: u64) -> [u8; 8] {
    mix(message.wrapping_add(index)).to_le_bytes()
}

/// The finalizer of MurmurHash3: every bit of the input moves half of the output's.
fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ value >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_the_same_in_any_pieces() {
        let contents = Contents::new(1);
        let mut whole = [0; 100];
        contents.fill((3, 17), 0, &mut whole);
        for start in 0..100 {
            for end in start..=100 {
                let mut piece = vec![0; end - start];
                contents.fill((3, 17), start, &mut piece);
                assert_eq!(piece, whole[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn no_two_messages_begin_alike() {
        let mut seen = std::collections::HashSet::new();
        for seed in [1, 2] {
            let contents = Contents::new(seed);
            for connection in 0..100 {
                for sequence in 0..100 {
                    let mut head = [0; 8];
                    contents.fill((connection, sequence), 0, &mut head);
                    assert!(seen.insert(head), "{seed} {connection} {sequence}");
                }
            }
        }
    }
}
