//! The protocol `http`.

use std::mem::MaybeUninit;
use std::time::Duration;

use httparse::{Error, Header, Request, Status};
use polyloop::{Connection, Protocol, TimerId};

/// A minimal HTTP/1.1 server (RFC 9110, RFC 9112): answers `GET` with the request's target and a
/// line feed, so that each answer shows which request it belongs to, and `HEAD` with the same
/// without the content. Connections persist, and requests may be pipelined.
///
/// | request | answer |
/// |---|---|
/// | malformed, without or with two `Host`s, with a length that is in doubt | 400, then the end |
/// | another method | 405 |
/// | with content of unknown length (`Transfer-Encoding`) | 411, then the end |
/// | a head of more than [`MAX_HEAD`](Http::MAX_HEAD) bytes or [`MAX_FIELDS`](Http::MAX_FIELDS) fields | 431, then the end |
/// | not HTTP/1.0 or HTTP/1.1 | 505, then the end |
///
/// A request's content is skipped. No answer has a `Date`: a protocol has no clock.
#[derive(Debug, Default)]
pub struct Http {
    /// Bytes of the present request's content that are still to come.
    content: u64,
    /// The last answer is on its way, and nothing that comes is looked at any more.
    ended: bool,
}

impl Http {
    /// Bytes that a request's line and header fields may have together.
    pub const MAX_HEAD: usize = 8 * 1024;

    /// Header fields that a request may have.
    pub const MAX_FIELDS: usize = 64;

    /// How long a peer may go on sending after its last answer.
    const LINGER: Duration = Duration::from_secs(2);

    /// Ends the connection behind the last answer. While the peer may still be sending, only this
    /// half: closing all of it would answer the peer's next byte with a reset, which may destroy
    /// the answer before it is read (RFC 9112, 9.6).
    fn end(&mut self, connection: &mut Connection<'_>, all_has_come: bool) {
        if all_has_come {
            return connection.close();
        }
        self.ended = true;
        connection.finish();
        connection.set_timer(Http::LINGER);
    }

    /// Answers one request.
    fn answer(&mut self, connection: &mut Connection<'_>, head: &Head<'_>) {
        let connection_field: &[u8] = match (head.persists, head.is_1_1) {
            (true, true) => b"",
            (true, false) => b"Connection: keep-alive\r\n",
            (false, _) => b"Connection: close\r\n",
        };
        if !matches!(head.method, "GET" | "HEAD") {
            connection.send(
                b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n",
            );
            connection.send(connection_field);
            return connection.send(b"\r\n");
        }
        let target = head.target.as_bytes();
        let mut digits = [0; 20];
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ");
        connection.send(decimal(target.len() + 1, &mut digits));
        connection.send(b"\r\n");
        connection.send(connection_field);
        connection.send(b"\r\n");
        if head.method == "GET" {
            connection.send(target);
            connection.send(b"\n");
        }
    }

    /// Answers what is no request, and ends the connection: nobody knows where the next begins.
    fn refuse(&mut self, connection: &mut Connection<'_>, refusal: Refusal) {
        let (status, reason) = match refusal {
            Refusal::Malformed(reason) => ("400 Bad Request", reason),
            Refusal::LengthUnknown => ("411 Length Required", "content in chunks"),
            Refusal::TooLarge => ("431 Request Header Fields Too Large", "too large a head"),
            Refusal::Version => ("505 HTTP Version Not Supported", "not HTTP/1.1"),
        };
        log::debug!("{}: {status}: {reason}", connection.peer());
        connection.send(b"HTTP/1.1 ");
        connection.send(status.as_bytes());
        connection.send(b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.end(connection, false);
    }
}

impl Protocol for Http {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        if self.ended {
            return input.len();
        }
        let mut used = 0;
        // Behind more output than a peer takes, requests wait until it has been taken.
        while used < input.len() && !connection.is_above_high_water() {
            let rest = &input[used..];
            if self.content > 0 {
                let skipped = self.content.min(rest.len() as u64);
                self.content -= skipped;
                used += skipped as usize;
                continue;
            }
            // The headers' places are written before they are read, and filling them first would
            // cost as much as the parsing.
            let mut fields = [const { MaybeUninit::uninit() }; Http::MAX_FIELDS];
            match Head::parse(rest, &mut fields) {
                Ok(Some(head)) => {
                    used += head.length;
                    self.content = head.content;
                    self.answer(connection, &head);
                    if !head.persists {
                        self.end(connection, used == input.len() && self.content == 0);
                        return input.len();
                    }
                }
                Ok(None) => break,
                Err(refusal) => {
                    self.refuse(connection, refusal);
                    return input.len();
                }
            }
        }
        used
    }

    fn timer(&mut self, connection: &mut Connection<'_>, _timer: TimerId) {
        connection.abort();
    }
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed(&'static str),
    LengthUnknown,
    TooLarge,
    Version,
}

/// What matters of a request's head.
#[derive(Debug)]
struct Head<'a> {
    method: &'a str,
    target: &'a str,
    /// It came with HTTP/1.1 and not with HTTP/1.0.
    is_1_1: bool,
    /// Its connection goes on behind the answer.
    persists: bool,
    /// Bytes of content behind the head.
    content: u64,
    /// Bytes of the head.
    length: usize,
}

impl<'a> Head<'a> {
    /// Reads the head at the front of `input`, if it is whole.
    fn parse<'f>(
        input: &'a [u8],
        fields: &'f mut [MaybeUninit<Header<'a>>],
    ) -> Result<Option<Head<'a>>, Refusal> {
        // One byte more tells a head that is too large from one that is not yet whole.
        let input = &input[..input.len().min(Http::MAX_HEAD + 1)];
        let mut request = Request::new(&mut []);
        let length = match request.parse_with_uninit_headers(input, fields) {
            Ok(Status::Complete(length)) if length <= Http::MAX_HEAD => length,
            Ok(Status::Partial) if input.len() <= Http::MAX_HEAD => return Ok(None),
            Ok(_) | Err(Error::TooManyHeaders) => return Err(Refusal::TooLarge),
            Err(Error::Version) => return Err(Refusal::Version),
            Err(Error::NewLine) => return Err(Refusal::Malformed("a stray line end")),
            Err(_) => return Err(Refusal::Malformed("no request")),
        };
        let is_1_1 = request.version == Some(1);
        let fields = Fields::read(request.headers)?;
        if fields.has_transfer_encoding {
            // With a length as well, or from a version that has no such thing, it is a disguise.
            return Err(match (fields.content, is_1_1) {
                (None, true) => Refusal::LengthUnknown,
                _ => Refusal::Malformed("a length in doubt"),
            });
        }
        if is_1_1 && !fields.has_host {
            return Err(Refusal::Malformed("no Host"));
        }
        let content = fields.content.unwrap_or(0);
        Ok(Some(Head {
            // They are there, since the head is whole.
            method: request.method.unwrap_or_default(),
            target: request.path.unwrap_or_default(),
            is_1_1,
            // Whoever asks first whether to send the content may send none after an answer such
            // as ours, or all of it: what comes next would be anybody's guess.
            persists: (is_1_1 || fields.keeps_alive)
                && !fields.closes
                && !(fields.has_expectation && content > 0),
            content,
            length,
        }))
    }
}

/// What matters of the header fields.
#[derive(Debug, Default)]
struct Fields {
    has_host: bool,
    has_transfer_encoding: bool,
    has_expectation: bool,
    /// `Connection: close`.
    closes: bool,
    /// `Connection: keep-alive`.
    keeps_alive: bool,
    /// `Content-Length`.
    content: Option<u64>,
}

impl Fields {
    fn read(headers: &[Header<'_>]) -> Result<Fields, Refusal> {
        let mut fields = Fields::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("Host") {
                if std::mem::replace(&mut fields.has_host, true) {
                    return Err(Refusal::Malformed("two Hosts"));
                }
            } else if is("Connection") {
                for option in header.value.split(|&byte| byte == b',') {
                    let option = option.trim_ascii();
                    fields.closes |= option.eq_ignore_ascii_case(b"close");
                    fields.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if is("Content-Length") {
                // Two of them may differ, or be read differently by others: whoever picks one
                // lets a request be hidden in another's content.
                let length = number(header.value).ok_or(Refusal::Malformed("no length"))?;
                if fields.content.replace(length).is_some() {
                    return Err(Refusal::Malformed("two lengths"));
                }
            } else if is("Transfer-Encoding") {
                fields.has_transfer_encoding = true;
            } else if is("Expect") {
                fields.has_expectation = true;
            }
        }
        Ok(fields)
    }
}

/// Reads a number that consists of digits and nothing else: no sign, no space, no list.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Writes a number without allocating.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[first..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::Peer;
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ";

    fn peer() -> Peer<Http> {
        Peer::of(Http::default())
    }

    /// What a request is answered with, and whether the connection goes on.
    fn ask(request: &str) -> (String, bool) {
        let mut peer = peer();
        let answer = String::from_utf8(peer.say(request.as_bytes())).unwrap();
        (answer, peer.is_open())
    }

    /// The status of an answer that ends the connection.
    fn refused(request: &str) -> u16 {
        let (answer, open) = ask(request);
        assert!(!open, "{request:?} {answer:?}");
        assert!(answer.ends_with("Content-Length: 0\r\nConnection: close\r\n\r\n"), "{answer:?}");
        answer["HTTP/1.1 ".len()..][..3].parse().unwrap()
    }

    #[test]
    fn get_shows_the_target_and_head_only_its_length() {
        let fields = "HTTP/1.1\r\nHost: a\r\n\r\n";
        let got = format!("{OK}5\r\n\r\n/a?b\n");
        assert_eq!(ask(&format!("GET /a?b {fields}")), (got, true));
        let head = format!("{OK}5\r\n\r\n");
        assert_eq!(ask(&format!("HEAD /a?b {fields}")), (head, true));
    }

    #[test]
    fn requests_may_come_together() {
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answers = format!("{OK}2\r\n\r\n/\n{OK}3\r\n\r\n/b\n");
        assert_eq!(ask(&[get("/"), get("/b"), "GET /c HT".into()].concat()), (answers, true));
    }

    #[test]
    fn who_asks_for_the_end_gets_it_and_nothing_more() {
        for last in ["Connection: close", "connection: x, Close"] {
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{last}\r\n\r\n");
            let answer = format!("{OK}2\r\nConnection: close\r\n\r\n/\n");
            assert_eq!(ask(&request), (answer.clone(), false));
            assert_eq!(ask(&[&request[..], &request].concat()), (answer, false));
        }
    }

    #[test]
    fn http_1_0_ends_unless_it_is_told_not_to() {
        let answer = format!("{OK}2\r\nConnection: close\r\n\r\n/\n");
        assert_eq!(ask("GET / HTTP/1.0\r\n\r\n"), (answer, false));
        let answer = format!("{OK}2\r\nConnection: keep-alive\r\n\r\n/\n");
        assert_eq!(ask("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), (answer, true));
    }

    #[test]
    fn other_methods_are_not_allowed_and_their_content_is_skipped() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\nGET / HTTP/1.1\r\n";
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (answers, open) = ask(&[post, get].concat());
        let (first, second) = answers.split_once("\r\n\r\n").unwrap();
        assert!(first.starts_with("HTTP/1.1 405 ") && first.contains("Allow: GET, HEAD"));
        assert_eq!((second, open), (format!("{OK}2\r\n\r\n/\n").as_str(), true));
    }

    #[test]
    fn content_that_is_yet_to_be_asked_for_ends_the_connection() {
        let post =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        let (answer, open) = ask(&[post, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        assert!(answer.starts_with("HTTP/1.1 405 ") && !open, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }

    #[test]
    fn a_length_in_doubt_hides_no_request() {
        let request = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5 5",
            "Content-Length:",
            "Content-Length: 18446744073709551616",
            "Content-Length : 5",
            "Content-Length\t: 5",
            "X: a\r\n Content-Length: 5", // a folded line
            "X: a\rContent-Length: 5",
            "Content-Length: 5\0",
            "Transfer\u{1}Encoding: chunked",
        ] {
            assert_eq!(refused(&request(fields)), 400, "{fields:?}");
        }
        for fields in ["Transfer-Encoding: chunked", "transfer-encoding:\tgzip, identity"] {
            assert_eq!(refused(&request(fields)), 411, "{fields:?}");
        }
        assert_eq!(refused("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn the_longest_content_is_waited_for() {
        let mut peer = peer();
        let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", u64::MAX);
        assert!(peer.say(post.as_bytes()).starts_with(b"HTTP/1.1 405 "));
        assert_eq!(peer.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), b"");
        assert!(peer.is_open());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),                       // no Host
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400), // two of them
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 505),         // b is the version
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("G\u{0}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (" GET / HTTP/1.1\r\n", 400),
            ("\u{16}\u{3}\u{1}", 400), // a TLS client
            ("GET /\r\n", 400),        // HTTP/0.9
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\n\r\n", 505),
            ("GET / HTTP/3\r\n\r\n", 505),
        ] {
            assert_eq!(refused(request), status, "{request:?}");
        }
    }

    #[test]
    fn a_head_may_be_so_large_and_no_larger() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        let large =
            |length: usize| format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4));
        assert!(ask(&large(Http::MAX_HEAD)).1);
        assert_eq!(refused(&large(Http::MAX_HEAD + 1)), 431);
        // It need not be whole for that, and it need not even have begun.
        assert_eq!(refused(&large(Http::MAX_HEAD + 5)[..Http::MAX_HEAD + 1]), 431);
        assert_eq!(refused(&"\r\n".repeat(Http::MAX_HEAD / 2 + 1)), 431);
        let many = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert!(ask(&many(Http::MAX_FIELDS - 1)).1);
        assert_eq!(refused(&many(Http::MAX_FIELDS)), 431);
    }

    #[test]
    fn the_last_answer_is_not_destroyed_by_what_still_comes() {
        let mut peer = peer();
        assert!(peer.say(b"nonsense\r\n").starts_with(b"HTTP/1.1 400 "));
        assert_eq!((peer.is_open(), peer.closed()), (false, None));
        assert_eq!(peer.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), b"");
        peer.end();
        assert_eq!(peer.closed(), Some(polyloop::Closed::Finished));
    }

    #[test]
    fn a_peer_that_never_stops_sending_is_left() {
        let mut peer = peer();
        peer.say(b"nonsense\r\n");
        peer.let_timers_run_out();
        assert_eq!(peer.closed(), Some(polyloop::Closed::Finished));
    }

    #[test]
    fn who_reads_no_answer_is_asked_for_no_further_request() {
        let mut peer = peer();
        peer.take(0);
        let many = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
        let mut told = 0;
        while peer.reads() {
            peer.say(many.as_bytes());
            told += 2000;
            assert!(told < 10_000, "it reads on and on");
        }
        // All are answered in the end.
        let answers = String::from_utf8(peer.take(usize::MAX)).unwrap();
        assert_eq!(answers.matches("200 OK").count(), told);
        assert!(peer.reads());
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 9, 10, 1234, usize::MAX] {
            let mut digits = [0; 20];
            assert_eq!(decimal(number, &mut digits), number.to_string().as_bytes());
            assert_eq!(self::number(decimal(number, &mut digits)), Some(number as u64));
        }
    }
}
