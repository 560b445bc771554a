//! Messages from any thread to the loop.

use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Waker;

/// Sends messages to an [`EventLoop`](crate::EventLoop) from any thread. Cheap to clone.
pub struct Sender<M> {
    shared: Arc<Shared<M>>,
    waker: Waker,
}

/// The message that could not be sent, because the loop is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError<M>(pub M);

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is gone")
    }
}

impl<M: fmt::Debug> std::error::Error for SendError<M> {}

struct Shared<M> {
    /// `None` once the loop is gone.
    queue: Mutex<Option<Vec<M>>>,
    /// The queue may hold something that the loop has not looked at.
    notified: AtomicBool,
    /// The loop waits in `poll`, or is about to: only then must a sender wake it.
    asleep: AtomicBool,
}

impl<M> Shared<M> {
    fn queue(&self) -> MutexGuard<'_, Option<Vec<M>>> {
        // A panic while the lock is held can only come from the allocator: the queue is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Sender<M> {
        Sender { shared: Arc::clone(&self.shared), waker: self.waker.clone() }
    }
}

impl<M> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<M> Sender<M> {
    /// Queues a message and wakes the loop if it sleeps.
    ///
    /// A loop that is busy, and so also the loop's own thread, costs no system call: it looks at
    /// its messages in every turn.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the message if the loop is gone.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        match self.shared.queue().as_mut() {
            Some(queue) => queue.push(message),
            None => return Err(SendError(message)),
        }
        // Paired with `Mailbox::may_sleep`: of the two stores one comes first, and the other side's
        // load then sees it. Either the loop sees the notice and does not sleep, or this thread
        // sees it asleep and wakes it.
        if !self.shared.notified.swap(true, Ordering::SeqCst)
            && self.shared.asleep.load(Ordering::SeqCst)
        {
            if let Err(error) = self.waker.wake() {
                // The next sender has to try again.
                self.shared.notified.store(false, Ordering::SeqCst);
                log::error!("a loop could not be woken: {error}");
            }
        }
        Ok(())
    }
}

/// The loop's end.
pub struct Mailbox<M> {
    shared: Arc<Shared<M>>,
    waker: Waker,
}

impl<M> Mailbox<M> {
    /// Makes a mailbox of a loop that `waker` wakes.
    #[must_use]
    pub fn new(waker: Waker) -> Mailbox<M> {
        let shared = Shared {
            queue: Mutex::new(Some(Vec::new())),
            notified: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
        };
        Mailbox { shared: Arc::new(shared), waker }
    }

    /// Makes a sender.
    #[must_use]
    pub fn sender(&self) -> Sender<M> {
        Sender { shared: Arc::clone(&self.shared), waker: self.waker.clone() }
    }

    /// Announces that the loop is about to wait; false if there are messages to look at first.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        self.shared.asleep.store(true, Ordering::SeqCst);
        !self.shared.notified.load(Ordering::SeqCst)
    }

    /// The wait is over. A sender that has not seen it yet wakes the loop for nothing, once.
    pub fn awake(&self) {
        self.shared.asleep.store(false, Ordering::Relaxed);
    }

    /// Moves what was sent to `inbox`, which is empty and whose room the next senders use.
    pub fn take(&self, inbox: &mut Vec<M>) {
        if !self.shared.notified.load(Ordering::Relaxed) {
            return;
        }
        // First the notice, then the queue: what is sent between the two is taken now and noticed
        // again, which costs a look at an empty queue.
        self.shared.notified.store(false, Ordering::SeqCst);
        if let Some(queue) = self.shared.queue().as_mut() {
            mem::swap(queue, inbox);
        }
    }
}

impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        // What nobody will read is dropped here, outside the lock.
        let unread = self.shared.queue().take();
        drop(unread);
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox")
    }
}

/// Turns a failed send into an I/O error, for callers whose other errors are I/O errors.
impl<M> From<SendError<M>> for io::Error {
    fn from(error: SendError<M>) -> io::Error {
        io::Error::new(io::ErrorKind::NotConnected, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn counting() -> (Mailbox<u32>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        let waker = Waker::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        (Mailbox::new(waker), wakes)
    }

    #[test]
    fn wakes_only_a_loop_that_sleeps_and_only_once() {
        let (mailbox, wakes) = counting();
        let sender = mailbox.sender();
        sender.send(1).unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 0, "awake: it will look by itself");
        assert!(!mailbox.may_sleep());
        let mut inbox = Vec::new();
        mailbox.take(&mut inbox);
        assert!(mailbox.may_sleep());
        sender.send(2).unwrap();
        sender.send(3).unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        mailbox.awake();
        inbox.clear();
        mailbox.take(&mut inbox);
        assert_eq!(inbox, [2, 3]);
    }

    #[test]
    fn gives_the_message_back_when_the_loop_is_gone() {
        let (mailbox, _) = counting();
        let sender = mailbox.sender();
        drop(mailbox);
        assert_eq!(sender.send(7), Err(SendError(7)));
    }
}
