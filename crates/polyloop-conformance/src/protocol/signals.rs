//! Signals that end the system calls of a server.

use std::thread;

use polyloop_models::Model;

use super::protocols::Echo;
use super::Scene;

/// A call that a signal ends is no error, neither of the server nor of a connection: a wait, or a read
/// with a timeout. What else a thread sleeps in goes on by itself after such a signal.
pub fn signals_end_nothing_but_calls(scene: &Scene) {
    let reached = match scene.model {
        Model::Process => Err("signals are what it is told by, and its server is another process"),
        Model::Thread => Err("the thread that they reach accepts, and goes on by itself"),
        _ => Ok(()),
    };
    if let Err(reason) = reached {
        return println!("{}: not run: {reason}", scene.name);
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
