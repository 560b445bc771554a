//! What holds for every input that a peer may think of.

use polyloop::Protocol;
use proptest::prelude::*;

use super::harness::Peer;
use super::*;

/// What comes back when `input` is sent in pieces that end at `cuts`, and whether the connection
/// goes on.
fn answers<P: Protocol>(protocol: P, input: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
    let mut peer = Peer::of(protocol);
    let mut heard = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().map(|cut| cut % (input.len() + 1)).chain([input.len()]) {
        heard.extend(peer.say(&input[from.min(cut)..cut]));
        from = from.max(cut);
    }
    (heard, peer.is_open())
}

/// Asserts that pieces make no difference.
fn check<P: Protocol>(
    make: impl Fn() -> P,
    input: &[u8],
    cuts: &mut [usize],
) -> Result<(), TestCaseError> {
    cuts.iter_mut().for_each(|cut| *cut %= input.len() + 1);
    cuts.sort_unstable();
    let whole = answers(make(), input, &[]);
    prop_assert_eq!(&answers(make(), input, cuts), &whole);
    let all: Vec<_> = (0..input.len()).collect();
    prop_assert_eq!(&answers(make(), input, &all), &whole);
    // Nothing here answers with much more than it was sent.
    prop_assert!(whole.0.len() <= 16 * input.len() + 256);
    Ok(())
}

/// Fragments of messages, whole ones, and noise: more likely to get far than noise alone.
fn input(words: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(word, 0..20).prop_map(|words| words.concat())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(any::<usize>(), 0..10)
}

proptest! {
    #[test]
    fn lines(input in input(&[b"a", b"line", b"\n", b"\r\n", b"#", b"##", b"##\n"]), mut cuts in cuts()) {
        check(Line::default, &input, &mut cuts)?;
        check(|| Work::new(Cost::default()), &input, &mut cuts)?;
        let (heard, open) = answers(Line::default(), &input, &cuts);
        prop_assert!(input.starts_with(&heard));
        prop_assert!(heard.is_empty() || heard.ends_with(b"\n"));
        prop_assert!(!open || !input[heard.len()..].contains(&b'\n'));
    }

    #[test]
    fn frames(
        input in input(&[b"\0\0\0\0", b"\0\0\0\x01x", b"\0\0\0\x05", b"hello", b"\0", b"\0\x10\0\0"]),
        mut cuts in cuts(),
    ) {
        check(|| Frames, &input, &mut cuts)?;
        prop_assert!(input.starts_with(&answers(Frames, &input, &cuts).0));
    }

    #[test]
    fn http(
        input in input(&[
            b"GET / HTTP/1.1\r\n", b"HEAD /x HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n",
            b"GET / HTTP/1.0\r\n", b"Host: a\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"Content-Length: ",
            b"1", b"5\r\n", b"hello", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n",
            b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"X: y\r\n", b" ",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/2.0",
        ]),
        mut cuts in cuts(),
    ) {
        check(Http::default, &input, &mut cuts)?;
    }
}
