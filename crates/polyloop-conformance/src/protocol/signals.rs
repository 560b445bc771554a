//! Signals that end the system calls of a server.

use std::thread;

use super::protocols::Echo;
use super::Scene;

/// A call that a signal ends is no error, neither of the server nor of a connection.
pub fn signals_end_nothing_but_calls(scene: &Scene) {
    if scene.model.forks() {
        // Signals are what it is told by, and its server is another process.
        return;
    }
    let served = scene.serve(|| Echo);
    let mut client = served.connect();
    let talking = thread::spawn(move || {
        for _ in 0..20 {
            client.exchange(b"is it still there?");
        }
        client.leave();
    });
    served.interrupt_until(|| talking.is_finished());
    talking.join().expect("every exchange succeeds");
    served.stop();
}
