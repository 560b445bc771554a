//! What is said on the wire: every request and its answer, byte by byte.

use super::contents::Contents;
use crate::mistake::Mistake;
use crate::protocols::Builtin;
use crate::units;

/// The requests of a run and the answers to them: contents that differ from request to request,
/// between bytes that are the same for all.
#[derive(Debug)]
pub(crate) struct Messages {
    contents: Contents,
    /// The contents are letters, digits, `-` and `_`, and not any bytes.
    text: bool,
    /// The answer comes along with the request, and need not wait for its end.
    streams: bool,
    request: Shape,
    answer: Shape,
}

/// What a message looks like.
#[derive(Debug)]
struct Shape {
    before: Vec<u8>,
    contents: usize,
    after: Vec<u8>,
}

/// Which message: the number of its connection, and its number there.
pub(super) type Which = (u32, u32);

impl Messages {
    /// Messages of `protocol`. `size` is the length, in bytes, of what
    /// comes back to its sender: with `line` and `work` the line with its end, with `frames` the
    /// frame without its header, with `http` the target.
    ///
    /// # Errors
    ///
    /// A server of this protocol takes no message of that size.
    pub(crate) fn new(protocol: Builtin, size: usize, seed: u64) -> Result<Self, Mistake> {
        let shape = |before: &[u8], contents, after: &str| Shape {
            before: before.to_owned(),
            contents,
            after: after.as_bytes().to_owned(),
        };
        let (request, answer) = match protocol {
            Builtin::Echo => (shape(b"", size, ""), shape(b"", size, "")),
            Builtin::Line | Builtin::Work => {
                (shape(b"", size - 1, "\n"), shape(b"", size - 1, "\n"))
            }
            Builtin::Frames => {
                let header = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
                (shape(&header, size, ""), shape(&header, size, ""))
            }
            Builtin::Http => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n/",
                    size + 1
                );
                let fields = " HTTP/1.1\r\nHost: localhost\r\n\r\n";
                (shape(b"GET /", size - 1, fields), shape(head.as_bytes(), size - 1, "\n"))
            }
        };
        if let Some(longest) = protocol.longest().filter(|&longest| request.len() > longest) {
            let longest = longest - (request.len() - size);
            return Err(Mistake(format!(
                "{protocol} takes messages of {} bytes at most: choose a smaller --size",
                units::count(longest as u64)
            )));
        }
        Ok(Messages {
            contents: Contents::new(seed),
            text: !matches!(protocol, Builtin::Echo | Builtin::Frames),
            streams: protocol == Builtin::Echo,
            request,
            answer,
        })
    }

    /// Bytes of a request.
    #[inline]
    pub(crate) fn request_length(&self) -> usize {
        self.request.len()
    }

    /// Bytes of an answer.
    #[inline]
    pub(crate) fn answer_length(&self) -> usize {
        self.answer.len()
    }

    /// How much of the answer may have come back when `sent` bytes of the request are sent.
    #[inline]
    pub(super) fn answerable(&self, sent: usize) -> usize {
        if sent == self.request.len() {
            self.answer.len()
        } else if self.streams {
            sent
        } else {
            0
        }
    }

    /// Writes the bytes from `offset` on of a request into `out`.
    #[inline]
    pub(super) fn fill_request(&self, which: Which, offset: usize, out: &mut [u8]) {
        self.fill(&self.request, which, offset, out);
    }

    /// Writes the bytes from `offset` on of an answer into `out`.
    #[inline]
    pub(super) fn fill_answer(&self, which: Which, offset: usize, out: &mut [u8]) {
        self.fill(&self.answer, which, offset, out);
    }

    #[inline]
    fn fill(&self, shape: &Shape, which: Which, offset: usize, out: &mut [u8]) {
        if shape.before.is_empty() && shape.after.is_empty() && !self.text {
            self.contents.fill(which, offset, out);
        } else {
            self.fill_parts(shape, which, offset, out);
        }
    }

    fn fill_parts(&self, shape: &Shape, which: Which, offset: usize, out: &mut [u8]) {
        let (before, out) = out.split_at_mut(left(shape.before.len(), offset).min(out.len()));
        before.copy_from_slice(&shape.before[offset.min(shape.before.len())..][..before.len()]);
        let offset = offset.saturating_sub(shape.before.len());

        let (contents, after) = out.split_at_mut(left(shape.contents, offset).min(out.len()));
        if !contents.is_empty() {
            self.contents.fill(which, offset, contents);
            if self.text {
                contents.iter_mut().for_each(|byte| *byte = LETTERS[usize::from(*byte) % 64]);
            }
        }
        let offset = offset.saturating_sub(shape.contents);
        after.copy_from_slice(&shape.after[offset.min(shape.after.len())..][..after.len()]);
    }

    /// Writes a whole datagram of an echo into `out`: the number of its client and its own, by which
    /// it is recognized, then contents.
    #[inline]
    pub(super) fn fill_datagram(&self, which: Which, out: &mut [u8]) {
        let (client, sequence) = which;
        self.contents.fill(which, 0, out);
        for (byte, &number) in
            out.iter_mut().zip(client.to_be_bytes().iter().chain(&sequence.to_be_bytes()))
        {
            *byte = number;
        }
    }

    /// A whole request and its whole answer.
    pub(crate) fn exchange(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut request, mut answer) = (vec![0; self.request.len()], vec![0; self.answer.len()]);
        self.fill_request((0, 0), 0, &mut request);
        self.fill_answer((0, 0), 0, &mut answer);
        (request, answer)
    }
}

impl Shape {
    #[inline]
    fn len(&self) -> usize {
        self.before.len() + self.contents + self.after.len()
    }
}

/// What is left of a part of so many bytes behind `offset`.
#[inline]
fn left(length: usize, offset: usize) -> usize {
    length.saturating_sub(offset)
}

/// Bytes that mean nothing to any protocol.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(protocol: Builtin, size: usize) -> Messages {
        Messages::new(protocol, size, 1).unwrap()
    }

    #[test]
    fn each_protocol_has_its_own() {
        let (request, answer) = messages(Builtin::Echo, 9).exchange();
        assert_eq!((request.len(), &request), (9, &answer));

        let (request, answer) = messages(Builtin::Line, 9).exchange();
        assert_eq!((request.len(), &request), (9, &answer));
        assert_eq!(request.iter().position(|&byte| byte == b'\n'), Some(8));

        let (request, answer) = messages(Builtin::Frames, 9).exchange();
        assert_eq!((request.len(), &request), (13, &answer));
        assert_eq!(request[..4], [0, 0, 0, 9]);

        let (request, answer) = messages(Builtin::Http, 3).exchange();
        let (request, answer) =
            (String::from_utf8(request).unwrap(), String::from_utf8(answer).unwrap());
        let target = &request[4..7];
        assert_eq!(request, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(answer, format!("{head}{target}\n"));
    }

    #[test]
    fn a_message_reads_the_same_in_any_pieces() {
        for &protocol in Builtin::ALL {
            let messages = messages(protocol, 20);
            let (request, answer) = messages.exchange();
            for start in 0..answer.len() {
                for end in start..=answer.len() {
                    let mut piece = vec![0; end - start];
                    messages.fill_answer((0, 0), start, &mut piece);
                    assert_eq!(piece, answer[start..end], "{protocol} {start}..{end}");
                    if end <= request.len() {
                        messages.fill_request((0, 0), start, &mut piece);
                        assert_eq!(piece, request[start..end], "{protocol} {start}..{end}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_smallest_and_the_largest_size() {
        for &protocol in Builtin::ALL {
            messages(protocol, 1);
            let Some(longest) = protocol.longest() else { continue };
            let overhead = messages(protocol, 1).request_length() - 1;
            messages(protocol, longest - overhead);
            let error = Messages::new(protocol, longest - overhead + 1, 1).unwrap_err();
            let longest = units::count((longest - overhead) as u64);
            assert!(error.0.contains(&format!("{longest} bytes at most")), "{error}");
        }
    }

    #[test]
    fn only_an_echo_may_come_before_its_request_is_complete() {
        assert_eq!(messages(Builtin::Echo, 9).answerable(5), 5);
        assert_eq!(messages(Builtin::Frames, 9).answerable(5), 0);
        let http = messages(Builtin::Http, 9);
        assert_eq!(http.answerable(http.request_length()), http.answer_length());
    }
}
