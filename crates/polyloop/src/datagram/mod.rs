//! Datagrams: one in, one out or none, and no connection between the two.

mod mail;
mod server;
mod service;
mod socket;

use std::net::SocketAddr;

use crate::Counters;

pub use mail::{Inbox, Outbox, LONGEST};
pub use server::DatagramServer;
pub use service::Service;
pub use socket::{bind, DatagramSocket};

/// What a server of datagrams says: one comes in, and one goes back or none.
///
/// Written once and served by any model that knows datagrams. A server has one such value, or one
/// for each of its threads. It keeps no state for a peer, and none is kept for it: a client that
/// was silent for long may come back from another port, and is another peer then.
///
/// ```
/// use std::net::SocketAddr;
///
/// use polyloop::{DatagramProtocol, DatagramServer, Reply};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn received(&mut self, _from: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
///         reply.send(datagram);
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let server = DatagramServer::bind("127.0.0.1:0", Echo)?;
/// # server.handle().stop();
/// server.run()
/// # }
/// ```
pub trait DatagramProtocol: Send {
    /// A whole datagram has come, possibly one of no bytes. What `reply` is given goes back to
    /// where it came from; a reply that is not used is no answer. What comes from the socket's own
    /// address, or from loopback and its port where it is bound to every address, is not shown,
    /// which ends an echo to oneself. From another address of this machine, which only who may
    /// forge it sends, it is shown.
    fn received(&mut self, from: SocketAddr, datagram: &[u8], reply: Reply<'_>);

    /// A datagram has come that is longer than [`Config::max_datagram`](crate::Config). Its
    /// `beginning` is as long as that, and the rest is lost. By default it is not answered; that it
    /// came is [counted](crate::Counters) and logged at `debug`.
    fn truncated(&mut self, from: SocketAddr, beginning: &[u8], reply: Reply<'_>) {
        let _ = (from, beginning, reply);
    }
}

/// The one answer to one datagram.
#[derive(Debug)]
pub struct Reply<'a> {
    outbox: &'a mut Outbox,
    to: SocketAddr,
}

impl Reply<'_> {
    /// Sends a datagram back, possibly one of no bytes.
    ///
    /// It is sent when the call of the protocol is over, and stays waiting while the kernel has no
    /// room: then nothing further is received. One that the system refuses, as it does one longer
    /// than [`LONGEST`], is [counted](crate::Counters) and logged at
    /// `debug`. Whether a datagram that was sent arrives, nobody knows.
    pub fn send(self, datagram: &[u8]) {
        self.outbox.push(self.to, datagram);
    }
}

/// Shows the protocol what has come and gathers what it answers. Returns whether something came
/// from `own`, the address that only this very socket sends from.
///
/// The protocol is not shown that: an answer would come from `own` again, and so on for ever.
#[inline]
fn answer<P: DatagramProtocol>(
    protocol: &mut P,
    inbox: &Inbox,
    outbox: &mut Outbox,
    own: SocketAddr,
    counters: &Counters,
) -> bool {
    let mut from_itself = false;
    for (from, datagram) in inbox.iter() {
        if from == own {
            from_itself = true;
            continue;
        }
        counters.datagrams.add(1);
        let reply = Reply { outbox, to: from };
        match datagram {
            Ok(whole) => {
                log::trace!("{from}: received {} bytes", whole.len());
                protocol.received(from, whole, reply);
            }
            Err(beginning) => {
                counters.truncated.add(1);
                log::debug!("{from}: a datagram is longer than {} bytes", beginning.len());
                protocol.truncated(from, beginning, reply);
            }
        }
    }
    from_itself
}

/// Takes note of an answer that the system refused.
#[cold]
fn refuse(outbox: &mut Outbox, error: &std::io::Error, counters: &Counters) {
    if let Some((to, datagram)) = outbox.iter().next() {
        log::debug!("{to}: an answer of {} bytes was not sent: {error}", datagram.len());
    }
    counters.unsent.add(1);
    outbox.advance(1);
}

/// Receives that fail one after the other before a socket rests: errors that concern one datagram
/// each come and go; one that stays would keep a processor busy.
const FAILURES: u32 = 64;

/// Whether a receive failed with news of an earlier answer, which found nobody: Windows tells so.
///
/// That is no failure of the socket. Each such error uses up what it tells, so they come to an end,
/// and a peer that makes many of them must not bring the server to rest.
fn tells_of_an_answer(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ConnectionReset
}

/// How long it rests then.
const REST: std::time::Duration = std::time::Duration::from_millis(100);
