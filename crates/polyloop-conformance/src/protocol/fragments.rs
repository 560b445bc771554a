//! The same bytes, however they come.

use polyloop::Closed;

use super::protocols::{Echo, Gate, Gated, Lines};
use super::random::Random;
use super::Scene;

/// Sends `content` to a protocol of lines, cut at the positions in `cuts`, so that the protocol
/// is shown each piece before the next one is sent, and expects the whole lines back.
pub fn in_pieces(scene: &Scene, content: &[u8], cuts: &[usize]) {
    let served = scene.serve(|| Lines);
    let mut client = served.connect();
    let mut cuts: Vec<_> = cuts.iter().map(|&cut| cut.min(content.len())).collect();
    cuts.sort_unstable();
    let mut sent = 0;
    for cut in cuts {
        client.send_and_wait(&content[sent..cut]);
        sent = cut;
    }
    client.send(&content[sent..]);
    let whole = content.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    client.expect(&content[..whole]);
    // What was left over is the beginning of the next line.
    client.send(b"end\n");
    client.expect(&content[whole..]);
    client.expect(b"end\n");
    drop(client);
    served.stop();
}

const LINES: &[u8] = b"one\ntwo and more\n\nfour\nand a piece";

/// Lines of which each byte comes alone.
pub fn bytes_one_at_a_time(scene: &Scene) {
    in_pieces(scene, LINES, &(0..LINES.len()).collect::<Vec<_>>());
}

/// Several lines and a piece come at once.
pub fn bytes_all_at_once(scene: &Scene) {
    in_pieces(scene, LINES, &[]);
}

/// Lines of any length, cut anywhere.
pub fn bytes_in_random_pieces(scene: &Scene) {
    let mut random = Random(1);
    for _ in 0..4 {
        let content: Vec<u8> = (0..400).map(|_| b"abc\n"[random.below(4)]).collect();
        let cuts: Vec<usize> = (0..20).map(|_| random.below(content.len())).collect();
        in_pieces(scene, &content, &cuts);
    }
}

/// An echo of single bytes, each awaited.
pub fn an_echo_of_single_bytes(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let mut client = served.connect();
    for byte in 0..20 {
        client.exchange(&[byte]);
    }
    drop(client);
    served.stop();
}

/// A thousand requests are sent before the first answer is read.
pub fn pipelined_requests(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut client = served.connect();
    let requests: String = (0..1000).map(|number| format!("request {number}\n")).collect();
    client.send(requests.as_bytes());
    client.expect(requests.as_bytes());
    client.exchange(b"another\n");
    drop(client);
    served.stop();
}

/// A message is longer than any driver reads at once.
pub fn a_message_longer_than_a_read(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut client = served.connect();
    let mut line = vec![b'x'; 300_000];
    line.push(b'\n');
    for _ in 0..2 {
        client.send(&line);
        client.expect(&line);
    }
    drop(client);
    served.stop();
}

/// An out-of-band byte between two writes ends a read early; what stands behind it comes without
/// any further traffic.
pub fn an_out_of_band_byte_between_two_writes(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let mut client = served.connect();
    for _ in 0..3 {
        client.send(b"abc");
        client.send_out_of_band(b'!');
        client.send(b"def");
        client.expect(b"abcdef");
        client.exchange(b"another");
    }
    drop(client);
    served.stop();
}

/// The same, while the server looks elsewhere, so that all of it is there at once.
pub fn an_out_of_band_byte_in_the_middle_of_what_waits(scene: &Scene) {
    let served = scene.serve(|| Gated);
    let mut client = served.connect();
    let gate = Gate::new();
    client.send_and_wait(gate.request());
    client.send(b"abc");
    client.send_out_of_band(b'!');
    client.send(b"def\n");
    gate.open();
    client.expect(gate.request());
    client.expect(b"abcdef\n");
    client.exchange(b"another\n");
    drop(client);
    served.stop();
}

/// The last request and the end come together: it is answered before the connection ends.
pub fn data_and_the_end_at_once(scene: &Scene) {
    let served = scene.serve(|| Gated);
    let mut client = served.connect();
    let gate = Gate::new();
    client.send_and_wait(gate.request());
    client.send(b"last\n");
    client.finish();
    gate.open();
    client.expect(gate.request());
    client.expect(b"last\n");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// Data and a reset come together: whether the system still shows the data or not, the connection
/// ends with the reset.
pub fn data_and_a_reset_at_once(scene: &Scene) {
    let served = scene.serve(|| Gated);
    let mut client = served.connect();
    let gate = Gate::new();
    client.send_and_wait(gate.request());
    client.send(b"last\n");
    let address = client.reset();
    gate.open();
    assert_eq!(served.log().reason(address), Closed::Reset);
    let mut another = served.connect();
    another.exchange(b"another\n");
    drop(another);
    served.stop();
}
