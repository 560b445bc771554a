//! Taking connections in, within limits.

use std::io;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::SockRef;

use super::connections::{Connections, Entry};
use crate::listen::BoundPath;
use crate::{Backend, Context, Interest, Listener as Listening, Peer, Protocol, Token};

/// A listening socket, and whether it rests.
pub(super) struct Listener {
    socket: TcpListener,
    /// Of a Unix-domain socket.
    path: Option<BoundPath>,
    /// The last attempt failed for want of something, which has been said.
    starved: bool,
}

impl Listener {
    fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        if self.path.is_some() {
            let (stream, _) = SockRef::from(&self.socket).accept()?;
            stream.set_nonblocking(true)?;
            return Ok((TcpStream::from_std(stream.into()), Peer::UNIX));
        }
        let (stream, peer) = self.socket.accept()?;
        Ok((stream, peer.into()))
    }
}

/// How long a listener rests when the system can't give it another connection.
const REST: Duration = Duration::from_millis(100);

impl<P: Protocol, F: Fn(&Peer) -> P> Connections<F, P> {
    pub(super) fn add_listener<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        listener: Listening,
    ) -> io::Result<()> {
        let Listening { socket, path, .. } = listener;
        socket.set_nonblocking(true)?;
        let mut socket = TcpListener::from_std(socket);
        let token = context.register(&mut socket, Interest::READABLE)?;
        self.entries.insert(token, Entry::Listener(Listener { socket, path, starved: false }));
        self.shared.listeners.push(token);
        Ok(())
    }

    /// Accepts until nobody waits, the turn's budget is spent, or a limit is reached.
    #[cold]
    pub(super) fn accept<B: Backend>(&mut self, context: &mut Context<B>, token: Token) {
        for _ in 0..self.shared.config.accept_budget {
            if self.is_full() {
                log::debug!("{} connections are open, which is the limit", self.shared.open);
                return self.set_listening(context, Interest::NONE);
            }
            let Some(Entry::Listener(listener)) = self.entries.get_mut(token) else { return };
            let accepted = context.accept(token, || listener.accept());
            let registered = accepted.and_then(|(mut stream, peer)| {
                let token = context.register(&mut stream, Interest::READABLE)?;
                Ok((token, stream, peer))
            });
            match registered {
                Ok((new, stream, peer)) => {
                    listener.starved = false;
                    self.open(context, new, stream, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The peer left while it waited in the backlog.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return self.rest(context, token, &error),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.shared.config.max_connections.is_some_and(|limit| self.shared.open >= limit)
    }

    /// Out of descriptors or of memory: the listener would be ready again at once, and the loop
    /// would spin on it. Whoever waits stays in the backlog meanwhile.
    fn rest<B: Backend>(&mut self, context: &mut Context<B>, token: Token, error: &io::Error) {
        let Some(Entry::Listener(listener)) = self.entries.get_mut(token) else { return };
        if !listener.starved {
            listener.starved = true;
            log::warn!(
                "no further connection can be accepted at {} open ones: {error}; trying again every \
                 {REST:?} (raise the limit of descriptors, or set max_connections below it)",
                self.shared.open,
            );
        }
        self.set_listening(context, Interest::NONE);
        context.set_timer(REST, token);
    }

    pub(super) fn listen_again<B: Backend>(&mut self, context: &mut Context<B>) {
        if !self.is_full() {
            self.set_listening(context, Interest::READABLE);
        }
    }

    fn set_listening<B: Backend>(&mut self, context: &mut Context<B>, interest: Interest) {
        for index in 0..self.shared.listeners.len() {
            let token = self.shared.listeners[index];
            let Some(Entry::Listener(listener)) = self.entries.get_mut(token) else { continue };
            if let Err(error) = context.set_interest(token, &mut listener.socket, interest) {
                log::error!("{token}: a listener's interest {interest:?} was refused: {error}");
            }
        }
    }

    pub(super) fn stop_listening<B: Backend>(&mut self, context: &mut Context<B>) {
        for token in std::mem::take(&mut self.shared.listeners) {
            if let Some(Entry::Listener(listener)) = self.entries.remove(token) {
                // The loop knows every token that is in the map.
                let _ = context.close(token, listener.socket);
            }
        }
    }
}
