//! One in, one out.

use std::net::SocketAddr;

use polyloop::datagram::LONGEST;
use polyloop::{Config, DatagramProtocol, Reply};

use super::serve::{Echo, ANY};
use super::Scene;

/// Each datagram is shown once and whole, and each answer goes back to where it belongs.
pub fn one_in_one_out(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let client = served.connect();
    for number in 0..20_u8 {
        client.exchange(&vec![number; usize::from(number) * 70 + 1]);
    }
    served.stop();
}

/// A datagram of no bytes is a datagram, in and out; nobody takes it for an end.
pub fn a_datagram_of_no_bytes(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let client = served.connect();
    for _ in 0..3 {
        client.exchange(b"");
    }
    client.exchange(b"not empty");
    served.stop();
}

/// All that UDP can carry; where a system sends less, as much as it does.
pub fn the_longest_datagram(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let client = served.connect();
    let datagram: Vec<u8> = (0..LONGEST).map(|at| (at ^ (at >> 8)) as u8).collect();
    let fits =
        [LONGEST, 9_000].into_iter().find(|&fits| client.socket.send(&datagram[..fits]).is_ok());
    client.expect(&datagram[..fits.expect("a system sends nine thousand bytes")]);
    served.stop();
}

/// Answers what begins with a question mark.
struct Oracle;

impl DatagramProtocol for Oracle {
    fn received(&mut self, _: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
        if datagram.starts_with(b"?") {
            reply.send(b"!");
        }
    }
}

/// A datagram that is not answered is not answered.
pub fn one_in_none_out(scene: &Scene) {
    let served = scene.bind(&[ANY], Config::default(), || Oracle).run();
    let client = served.connect();
    for _ in 0..3 {
        client.send(b".");
        client.send(b"?");
        client.expect(b"!");
    }
    client.expect_nothing_yet();
    served.stop();
}

/// Answers with as many bytes as it is asked for.
struct Generous;

impl DatagramProtocol for Generous {
    fn received(&mut self, _: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
        let length =
            datagram.iter().fold(0, |length, &digit| length * 10 + usize::from(digit - b'0'));
        reply.send(&vec![1; length]);
    }
}

/// An answer that no datagram can carry is counted, and the next one comes.
pub fn an_answer_that_is_too_long(scene: &Scene) {
    let bound = scene.bind(&[ANY], Config::default(), || Generous);
    let client = bound.connect();
    // One behind the other, so that they may be sent together.
    client.send_at_once(b"2");
    client.send_at_once(b"70000");
    client.send_at_once(b"3");
    let served = bound.run();
    client.expect_all(scene, vec![vec![1; 2], vec![1; 3]]);
    // Of several threads, one may still have the other datagram before it.
    served.handle().drain();
    let counts = served.wait();
    assert_eq!((counts.datagrams, counts.answers, counts.unsent), (3, 2, 1), "{counts:?}");
}

/// A datagram that is longer than the limit is told as such, with its beginning; one that just fits
/// is whole.
pub fn a_datagram_that_is_too_long_is_told(scene: &Scene) {
    let config = Config { max_datagram: 100, ..Config::default() };
    let served = scene.bind(&[ANY], config, || Echo).run();
    let client = served.connect();
    for length in [101, 5_000, 102] {
        client.exchange(&[b'x'; 100]);
        client.send(&vec![7; length]);
        client.expect(b"only 100 bytes, from 7");
    }
    let counts = served.stop();
    assert_eq!(counts.truncated, 3, "{counts:?}");
}

/// Every client is answered, and with what it said.
pub fn many_clients(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let clients: Vec<_> = (0..50_u8).map(|number| (number, served.connect())).collect();
    for _ in 0..3 {
        for (number, client) in &clients {
            client.send_at_once(&[*number; 20]);
        }
        for (number, client) in &clients {
            client.expect(&[*number; 20]);
        }
    }
    served.stop();
}

/// A client that was silent may come back from another port, and is answered there.
pub fn a_client_from_another_port(scene: &Scene) {
    let served = scene.serve(|| Echo);
    for _ in 0..3 {
        let client = served.connect();
        client.exchange(b"from wherever I am");
    }
    served.stop();
}

/// A server may receive at several addresses, of IPv6 too where the system has it.
pub fn several_addresses(scene: &Scene) {
    let six: SocketAddr = "[::1]:0".parse().expect("an address");
    let has_six = std::net::UdpSocket::bind(six).is_ok();
    let addresses = if has_six { vec![ANY, six, ANY, six] } else { vec![ANY, ANY] };
    let served = scene.bind(&addresses, Config::default(), || Echo).run();
    for _ in 0..3 {
        for index in 0..addresses.len() {
            served.connect_to(index).exchange(b"at this door");
        }
    }
    served.stop();
}

/// What has come before the server ran, and is more than it takes in one turn, is answered in the
/// order in which it came.
pub fn a_burst_beyond_the_budget(scene: &Scene) {
    const BURST: u8 = 200;
    let bound = scene.bind(&[ANY], Config::default(), || Echo);
    let client = bound.connect();
    for number in 0..BURST {
        client.send_at_once(&[number]);
    }
    let served = bound.run();
    client.expect_all(scene, (0..BURST).map(|number| vec![number]).collect());
    served.stop();
}
