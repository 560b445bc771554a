//! The output of a connection: what was gathered, what waits in the queue, what flies.

use std::io;

use super::{Ended, Environment, Machine, FLIGHT, QUEUE};
use crate::{Closed, Tick};

/// Output that the kernel did not take.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    /// How much of `bytes` is written.
    written: usize,
    /// When the kernel last took something, of what flies before it as well.
    pub(super) since: Tick,
}

impl Queue {
    /// An empty one.
    pub(super) fn new(now: Tick) -> Queue {
        Queue { bytes: Vec::new(), written: 0, since: now }
    }

    /// Drops what is written, if that is most of it.
    fn tidy(&mut self) {
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

impl Machine {
    /// Writes the queue, then what was gathered; what the kernel does not take is the queue.
    pub(super) fn flush(
        environment: &mut Environment<'_>,
        write: &mut impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Ended {
        let Environment { machine, output, now, config, .. } = environment;
        if !machine.is(QUEUE) {
            let written = machine.write_all(output, *now, write)?;
            if written == output.len() {
                output.clear();
                return Ok(());
            }
            machine.enqueue(output, written, *now);
        } else {
            machine.enqueue(output, 0, *now);
            let bytes = std::mem::take(&mut machine.hold(*now).queue.bytes);
            let from = machine.hold(*now).queue.written;
            let written = machine.write_all(&bytes[from..], *now, write);
            let queue = &mut machine.hold(*now).queue;
            queue.bytes = bytes;
            let written = written?;
            queue.written += written;
            if written > 0 {
                queue.since = *now;
            }
            if queue.written == queue.bytes.len() {
                *queue = Queue::new(*now);
                machine.flags &= !QUEUE;
                machine.let_go();
                return Ok(());
            }
            queue.tidy();
        }
        if machine.waiting() > config.max_output {
            return Err(Closed::OutputTooLong);
        }
        Ok(())
    }

    /// Launches the queue, then what was gathered, unless something flies already: it waits then.
    pub(super) fn launch(
        environment: &mut Environment<'_>,
        launch: &mut impl FnMut(&mut Vec<u8>),
    ) -> Ended {
        let Environment { machine, output, now, config, .. } = environment;
        if !machine.is(QUEUE | FLIGHT) {
            if !output.is_empty() {
                machine.flies(output.len(), *now);
                launch(output);
            }
            return Ok(());
        }
        if !output.is_empty() {
            machine.enqueue(output, 0, *now);
        }
        if !machine.is(FLIGHT) {
            let mut bytes = std::mem::take(&mut machine.hold(*now).queue.bytes);
            machine.flags &= !QUEUE;
            machine.flies(bytes.len(), *now);
            launch(&mut bytes);
        }
        if machine.waiting() > config.max_output {
            return Err(Closed::OutputTooLong);
        }
        Ok(())
    }

    /// The driver has launched so many bytes by itself: all that a steady connection sent.
    #[inline]
    pub fn flies(&mut self, count: usize, now: Tick) {
        self.flags |= FLIGHT;
        self.flying = u32::try_from(count).unwrap_or(u32::MAX);
        if let Some(held) = &mut self.held {
            held.queue.since = now;
        }
    }

    /// The kernel has taken some of what flies, and `left` bytes are launched again; or all of it,
    /// and nothing flies any more. To be settled then, unless it is steady.
    #[inline]
    pub fn landed(&mut self, left: usize, now: Tick) {
        self.active = now;
        self.flying = u32::try_from(left).unwrap_or(u32::MAX);
        if left == 0 {
            self.flags &= !FLIGHT;
        }
        if self.held.is_some() {
            self.landed_before_more(now);
        }
    }

    #[cold]
    fn landed_before_more(&mut self, now: Tick) {
        self.hold(now).queue.since = now;
        self.let_go();
    }

    /// What flies was not taken at once: from now on the peer has the time that
    /// [`Config::write`](crate::Config::write) gives it. To be settled.
    pub fn stalls(&mut self, now: Tick) {
        self.hold(now);
    }

    /// Writes until all is written or the kernel takes nothing more, and returns how much.
    fn write_all(
        &mut self,
        bytes: &[u8],
        now: Tick,
        write: &mut impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Result<usize, Closed> {
        let mut written = 0;
        while written < bytes.len() {
            match write(&bytes[written..]) {
                Ok(0) => return Err(Closed::Failed(io::ErrorKind::WriteZero)),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Closed::from_error(&error)),
            }
            self.active = now;
        }
        Ok(written)
    }

    /// Moves what was gathered, but for what is `written`, to the end of the queue.
    #[cold]
    fn enqueue(&mut self, output: &mut Vec<u8>, written: usize, now: Tick) {
        let fresh = !self.is(QUEUE | FLIGHT);
        self.flags |= QUEUE;
        let queue = &mut self.hold(now).queue;
        if fresh {
            queue.since = now;
        }
        queue.bytes.extend_from_slice(&output[written..]);
        output.clear();
    }

    /// Bytes that the kernel has not taken.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        if !self.is(QUEUE | FLIGHT) {
            return 0;
        }
        let queue = self.held.as_ref().filter(|_| self.is(QUEUE)).map(|held| &held.queue);
        queue.map_or(0, |queue| queue.bytes.len() - queue.written) + self.flying as usize
    }
}
