//! Taking connections in, within limits.

use std::io;

use mio::net::{TcpListener, TcpStream};
use socket2::SockRef;

use super::connections::{Connections, Entry};
use super::group::Seat;
use crate::listen::BoundPath;
use crate::starvation::Starvation;
use crate::{
    concerns_one_connection, Accepted, Backend, Context, Interest, Listener as Listening, Peer,
    Protocol, Token,
};

/// A listening socket.
pub(super) struct Listener {
    socket: TcpListener,
    /// Of a Unix-domain socket.
    path: Option<BoundPath>,
    /// The backend could not watch a connection, which has been said.
    refused: bool,
}

impl Listener {
    fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        if self.path.is_some() {
            let (stream, _) = SockRef::from(&self.socket).accept()?;
            // By the standard library, which takes one call for it.
            let stream = std::net::TcpStream::from(stream);
            stream.set_nonblocking(true)?;
            return Ok((TcpStream::from_std(stream), Peer::UNIX));
        }
        let (stream, peer) = self.socket.accept()?;
        Ok((stream, peer.into()))
    }
}

impl<P: Protocol, F: Fn(&Accepted<'_>) -> P> Connections<F, P> {
    pub(super) fn add_listener<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        listener: Listening,
    ) -> io::Result<()> {
        let Listening { socket, path, .. } = listener;
        socket.set_nonblocking(true)?;
        let mut socket = TcpListener::from_std(socket);
        let token = context.register(&mut socket, Interest::READABLE)?;
        self.entries.insert(token, Entry::Listener(Listener { socket, path, refused: false }));
        self.shared.listeners.push(token);
        Ok(())
    }

    /// Accepts until nobody waits, the turn's budget is spent, or a limit is reached.
    #[cold]
    pub(super) fn accept<B: Backend>(&mut self, context: &mut Context<B>, token: Token) {
        for _ in 0..self.shared.config.accept_budget {
            if !self.reserve() {
                log::debug!("as many connections are open as may be");
                return self.set_listening(context, Interest::NONE);
            }
            let Some(Entry::Listener(listener)) = self.entries.get_mut(token) else { return };
            let accepted = context.accept(token, || listener.accept());
            if listener.path.is_some() {
                // To make it non-blocking; of a TCP connection that is said with the accept.
                context.counters().other_calls.add(u64::from(accepted.is_ok()));
            }
            let error = match accepted {
                Ok((stream, peer)) => match self.take_in(context, stream, peer) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.release();
            match error.kind() {
                io::ErrorKind::WouldBlock => return,
                // The backend can't watch it, and it is closed. The next one may be below the limit.
                io::ErrorKind::Unsupported => self.refuse(token, &error),
                _ if concerns_one_connection(&error) => {}
                _ => return self.rest(context, token, &error),
            }
        }
    }

    /// Opens a connection that was accepted, here or on the loop whose turn it is.
    fn take_in<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        mut stream: TcpStream,
        peer: Peer,
    ) -> io::Result<()> {
        if let Some(seat) = &mut self.shared.seat {
            if let Some(other) = seat.next_loop() {
                seat.hand_to(other, stream, peer);
                return Ok(());
            }
        }
        match context.register(&mut stream, Interest::READABLE) {
            Ok(token) => {
                self.open(context, token, stream, peer);
                Ok(())
            }
            Err(error) => {
                if let Some(seat) = &mut self.shared.seat {
                    seat.take_back();
                }
                Err(error)
            }
        }
    }

    /// Opens a connection that another loop has accepted.
    pub(super) fn adopt<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        mut stream: TcpStream,
        peer: Peer,
    ) {
        if context.stopped {
            return self.release(); // it was on its way when everything was closed
        }
        match context.register(&mut stream, Interest::READABLE) {
            Ok(token) => self.open(context, token, stream, peer),
            Err(error) => {
                log::warn!("a connection from {peer} is closed: {error}");
                // Who hands out goes by what was closed.
                context.counters().opened.add(1);
                context.counters().closed.add(1);
                self.release();
            }
        }
    }

    /// Takes a place under the limit of connections; false if there is none.
    fn reserve(&self) -> bool {
        match &self.shared.seat {
            Some(seat) => seat.reserve(),
            None => self.has_room(),
        }
    }

    fn has_room(&self) -> bool {
        let taken = self.shared.seat.as_ref().map_or(self.shared.open, Seat::taken);
        self.shared.config.max_connections.map_or(true, |limit| taken < limit)
    }

    /// Gives a place back that was not used.
    fn release(&self) {
        if let Some(seat) = &self.shared.seat {
            seat.release();
        }
    }

    /// Says, once, that connections are closed because the backend can't watch them.
    fn refuse(&mut self, token: Token, error: &io::Error) {
        let open = self.shared.open;
        let Some(Entry::Listener(listener)) = self.entries.get_mut(token) else { return };
        if listener.refused {
            return log::debug!("a connection is refused at {open} open ones: {error}");
        }
        listener.refused = true;
        log::warn!("a connection is refused at {open} open ones, as others will be: {error}");
    }

    /// Out of descriptors or of memory.
    fn rest<B: Backend>(&mut self, context: &mut Context<B>, token: Token, error: &io::Error) {
        self.shared.starvation.no_connection(self.shared.open, error);
        self.set_listening(context, Interest::NONE);
        self.shared.resting = Some(context.set_timer(Starvation::REST, token));
    }

    pub(super) fn listen_again<B: Backend>(&mut self, context: &mut Context<B>) {
        if self.shared.resting.is_none() && self.has_room() {
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
                // First: who finds nobody at the path takes it over, and it would be theirs.
                drop(listener.path);
                // The loop knows every token that is in the map.
                let _ = context.close(token, listener.socket);
            }
        }
    }
}
