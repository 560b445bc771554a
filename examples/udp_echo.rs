//! A UDP echo on the loop's low-level interface. One terminal, and another to type lines in:
//!
//!     cargo run --release --example udp_echo
//!     nc -u 127.0.0.1 7000
//!
//! This is what a `DatagramServer` does for a `DatagramProtocol`, written out: UDP has no connections,
//! and a [`Handler`] owns the one socket.

use std::io;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use mio::net::UdpSocket;
use polyloop::{Backend, Context, EventLoop, Handler, Interest, MioBackend, Readiness, Token};

/// The longest datagram that is echoed.
const LONGEST: usize = 2048;

/// Datagrams in one turn of the loop; a handler with more sources would let them have theirs then.
const BUDGET: usize = 64;

struct UdpEcho {
    socket: UdpSocket,
    /// A byte longer than anything that fits: what fills it did not fit.
    buffer: [u8; LONGEST + 1],
    /// The datagram in `buffer` that is still to be sent: how long, and where to.
    answer: Option<(usize, SocketAddr)>,
}

impl UdpEcho {
    /// Echoes until nothing more has come, or the kernel takes nothing more, or the budget is
    /// spent. Returns what to wait for.
    fn echo<B: Backend>(&mut self, context: &mut Context<B>, token: Token) -> Interest {
        let UdpEcho { socket, buffer, answer } = self;
        for _ in 0..BUDGET {
            if answer.is_none() {
                match context.read(token, || socket.recv_from(buffer)) {
                    Ok((length, peer)) if length > LONGEST => {
                        log::error!("a datagram from {peer} is longer than {LONGEST}: dropped");
                    }
                    Ok(datagram) => *answer = Some(datagram),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // One that was too long (Windows), or news that an earlier answer found
                    // nobody. The next read is about another datagram.
                    Err(error) => log::error!("a datagram was not received: {error}"),
                }
            }
            if let Some((length, peer)) = *answer {
                match context.write(token, || socket.send_to(&buffer[..length], peer)) {
                    Ok(_) => log::debug!("{length} bytes to {peer}"),
                    // The answer stays where it is, and nothing is read until it is sent: further
                    // datagrams queue in the kernel, which drops what it can't hold. That is UDP.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Interest::WRITABLE;
                    }
                    Err(error) => log::error!("no answer to {peer}: {error}"),
                }
                *answer = None;
            }
        }
        Interest::READABLE
    }
}

impl<B: Backend> Handler<B> for UdpEcho {
    type Message = ();

    fn ready(&mut self, context: &mut Context<B>, token: Token, _: Readiness) {
        let wanted = self.echo(context, token);
        if let Err(error) = context.set_interest(token, &mut self.socket, wanted) {
            log::error!("the socket can't be watched any more: {error}");
            context.stop();
        }
    }
}

/// A UDP echo
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 lets the system choose
    #[arg(default_value = "127.0.0.1:7000")]
    listen: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    env_logger::init();
    let address = Arguments::parse().listen;
    let mut socket =
        UdpSocket::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let mut event_loop = EventLoop::new(MioBackend::new()?);
    event_loop.context().register(&mut socket, Interest::READABLE)?;
    println!("listening on {}", socket.local_addr()?);
    let mut handler = UdpEcho { socket, buffer: [0; LONGEST + 1], answer: None };
    Ok(event_loop.run(&mut handler)?)
}
