//! No multiplexer: every socket is asked, again and again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use polyloop::driver::Control;
use polyloop::{
    Accepted, Address, Backend, Caps, Config, Counts, Events, Interest, Protocol, Readiness,
    ServerHandle, Source, Table, Token, Trigger, Waker,
};

use crate::{on_loop, BoundServer};

/// A server whose sockets do not block, and which asks each of them again and again whether there
/// is something: a program that was told about `O_NONBLOCK` and not yet about select. It never
/// sleeps; what that burns is the lesson.
///
/// It is the loop of the other models around a backend that says of every socket that it is ready.
/// So nothing differs but the question: where poll(2) is asked once for all, here each `read` and
/// `accept` asks for itself, and mostly hears `WouldBlock`.
pub(crate) fn bind<P, F>(
    addresses: &[Address],
    config: Config,
    factory: F,
) -> io::Result<BoundServer>
where
    P: Protocol + 'static,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    on_loop(Everything::default(), addresses, config, factory).map(asking)
}

/// A server around [`Everything`], with counts that are true of it.
pub(crate) fn asking(server: BoundServer) -> BoundServer {
    BoundServer { handle: ServerHandle::new(Arc::new(Asking(server.handle))), ..server }
}

/// What counts as a call in the other loops is none here: a turn asks nobody.
struct Asking(ServerHandle);

impl Control for Asking {
    fn drain(&self) {
        self.0.drain();
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn counts(&self) -> Counts {
        Counts { turns: 0, ..self.0.counts() }
    }
}

/// A backend without a system call: everything is ready for what is asked, always. It breaks the
/// contract of [`Backend`] in that its `poll` never waits, whatever the timeout.
#[derive(Default)]
pub(crate) struct Everything {
    places: Table<usize>,
    asked: Vec<Asked>,
    /// Where the next `poll` begins.
    next: usize,
}

struct Asked {
    raw: polyloop::RawSource,
    token: Token,
    interest: Interest,
}

impl Backend for Everything {
    fn name(&self) -> &'static str {
        "spin"
    }

    fn caps(&self) -> Caps {
        Caps {
            trigger: Trigger::Level,
            short_read_drains: false,
            priority: false,
            hangup: false,
            kernel_set: false,
            regular_files: true,
            limit: None,
        }
    }

    fn register<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let raw = source.raw();
        self.places.expect_vacant(raw)?;
        self.places.insert(raw, self.asked.len());
        self.asked.push(Asked { raw, token, interest });
        Ok(())
    }

    fn reregister<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let asked = &mut self.asked[*self.places.get_mut(source.raw())?];
        asked.token = token;
        asked.interest = interest;
        Ok(())
    }

    fn deregister<S: Source + ?Sized>(&mut self, source: &mut S) -> io::Result<()> {
        let place = self.places.remove(source.raw())?;
        self.asked.swap_remove(place);
        if let Some(moved) = self.asked.get(place) {
            *self.places.get_mut(moved.raw)? = place;
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, _: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.next = if self.next < self.asked.len() { self.next } else { 0 };
        let (before, from) = self.asked.split_at(self.next);
        let mut told = 0;
        for &Asked { token, interest, .. } in from.iter().chain(before) {
            if events.is_full() {
                break;
            }
            told += 1;
            let readiness = Readiness::from(interest);
            if !readiness.is_empty() {
                events.push(token, readiness);
            }
        }
        // Whoever did not fit is first next time; if all did, another one is.
        let step = if told < self.asked.len() { told } else { 1 };
        self.next = (self.next + step) % self.asked.len().max(1);
        Ok(())
    }

    fn waker(&self) -> Waker {
        // Who never sleeps looks at the mailbox anyway.
        Waker::new(|| Ok(()))
    }
}
