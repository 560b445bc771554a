//! Sockets that refuse.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use polyloop::Config;

use super::serve::{Echo, ANY};
use super::sockets::Faults;
use super::Scene;

/// Clients that are gone when their answers come are news to nobody else. Some systems tell the
/// server of each with an error.
pub fn a_client_that_is_gone_ends_nothing(scene: &Scene) {
    let bound = scene.bind(&[ANY], Config::default(), || Echo);
    for _ in 0..5 {
        bound.connect().send_at_once(b"no need to answer");
    }
    let served = bound.run();
    let client = served.connect();
    for _ in 0..5 {
        client.exchange(b"I am still here");
        served.connect().send(b"no need to answer");
    }
    served.stop();
}

/// An answer for which the kernel has no room is sent when it has, and nothing is lost. Where
/// sockets block, that is the kernel's business.
pub fn an_answer_waits_for_room(scene: &Scene) {
    if scene.blocks() {
        return;
    }
    let served = scene.serve_with(Faults::sending(1, ErrorKind::WouldBlock));
    let client = served.connect();
    client.exchange(b"one");
    client.exchange(b"two");
    let counts = served.stop();
    assert_eq!((counts.answers, counts.unsent), (2, 0), "{counts:?}");
    assert!(counts.would_blocks >= 1, "{counts:?}");
}

/// A kernel that takes fewer answers than it is given gets the rest in order.
pub fn answers_are_taken_one_by_one(scene: &Scene) {
    let served = scene.serve_with(Faults::sending(0, ErrorKind::Other));
    let client = served.connect();
    for round in 0..5 {
        for number in 0..20 {
            client.send_at_once(&[round, number]);
        }
        client.expect_all(scene, (0..20).map(|number| vec![round, number]).collect());
    }
    served.stop();
}

/// An answer that the system refuses is gone, and counted; the next one is sent.
pub fn an_answer_that_is_refused_is_counted(scene: &Scene) {
    let served = scene.serve_with(Faults::sending(2, ErrorKind::ConnectionRefused));
    let client = served.connect();
    // Of several threads, the last to receive may be the first to send.
    for _ in 0..3 {
        client.send(b"any of three");
    }
    client.expect(b"any of three");
    served.handle().drain();
    let counts = served.wait();
    client.expect_nothing_yet();
    assert_eq!((counts.datagrams, counts.answers, counts.unsent), (3, 1, 2), "{counts:?}");
}

/// An error in place of a datagram, as Windows has it after an answer that found nobody, is no
/// reason to end.
pub fn an_error_that_is_received_ends_nothing(scene: &Scene) {
    let served = scene.serve_with(Faults::receiving(3, ErrorKind::ConnectionReset));
    let client = served.connect();
    client.socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    // Not so often that what the server has not received fills its queue.
    while client.socket.recv(&mut [0; 64]).is_err() {
        client.send_at_once(b"now?");
        thread::sleep(Duration::from_millis(10));
    }
    served.connect().exchange(b"now it works");
    served.stop();
}

/// A socket that fails again and again is asked a few times a second, and not for ever in one turn;
/// once it works again, so does the server.
pub fn a_socket_that_fails_is_given_a_rest(scene: &Scene) {
    // However several threads share them out, one of them rests three times.
    let faults = 66 * scene.threads();
    let begun = Instant::now();
    let served = scene.serve_with(Faults::before_receiving(faults, ErrorKind::Other));
    served.connect().exchange(b"now it works");
    // Another thread need not wait for the third of these rests to be over.
    assert!(begun.elapsed() >= Duration::from_millis(200), "after {:?}", begun.elapsed());
    served.stop();
}

/// However many answers found nobody, as Windows tells of each with an error: nobody waits for that.
pub fn answers_that_found_nobody_cost_no_rest(scene: &Scene) {
    // With a rest for each beyond the first, eight threads would rest for a minute.
    let served = scene.serve_with(Faults::before_receiving(5_000, ErrorKind::ConnectionReset));
    // The client's patience is shorter than that.
    served.connect().exchange(b"is anybody there?");
    served.stop();
}
