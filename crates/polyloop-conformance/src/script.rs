//! A loop whose handler is a closure, so that a scenario reads from top to bottom.

use std::io::{self, Read};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use polyloop::{Backend, Context, EventLoop, Handler, Readiness, TimerId, Token};

use crate::Make;

/// What a loop called.
pub(crate) enum Call<M> {
    Ready(Token, Readiness),
    Timer(Token, TimerId),
    Message(M),
}

struct Script<B, M, F> {
    call: F,
    called_by: PhantomData<fn(B, M)>,
}

impl<B: Backend, M: Send + 'static, F: FnMut(&mut Context<B>, Call<M>)> Handler<B>
    for Script<B, M, F>
{
    type Message = M;

    fn ready(&mut self, context: &mut Context<B>, token: Token, readiness: Readiness) {
        assert!(!readiness.is_empty(), "contract 4: a handler was called for nothing");
        (self.call)(context, Call::Ready(token, readiness));
    }

    fn timer(&mut self, context: &mut Context<B>, token: Token, timer: TimerId) {
        (self.call)(context, Call::Timer(token, timer));
    }

    fn message(&mut self, context: &mut Context<B>, message: M) {
        (self.call)(context, Call::Message(message));
    }
}

/// A loop that is sent no messages.
pub(crate) fn new_loop<B: Backend>(make: Make<B>) -> EventLoop<B, ()> {
    new_loop_for(make)
}

/// A loop that is sent messages of a type.
pub(crate) fn new_loop_for<B: Backend, M: Send + 'static>(make: Make<B>) -> EventLoop<B, M> {
    EventLoop::new(make().expect("the backend opens"))
}

/// Turns until `call` stops the loop.
pub(crate) fn run<B: Backend, M: Send + 'static>(
    event_loop: &mut EventLoop<B, M>,
    call: impl FnMut(&mut Context<B>, Call<M>),
) {
    let mut script = Script { call, called_by: PhantomData };
    event_loop.run(&mut script).expect("a loop turns");
}

/// Turns once.
pub(crate) fn turn<B: Backend, M: Send + 'static>(
    event_loop: &mut EventLoop<B, M>,
    limit: Option<Duration>,
    call: impl FnMut(&mut Context<B>, Call<M>),
) {
    let mut script = Script { call, called_by: PhantomData };
    event_loop.turn(&mut script, limit).expect("a loop turns");
}

/// Reads once, as a handler must: through the loop.
pub(crate) fn read<B: Backend>(
    context: &mut Context<B>,
    token: Token,
    mut stream: &TcpStream,
    buffer: &mut [u8],
) -> io::Result<usize> {
    context.read(token, || stream.read(buffer))
}

/// Whether a read said that there is nothing more for now.
pub(crate) fn would_block<T>(done: &io::Result<T>) -> bool {
    matches!(done, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The silence of a quiet peer: makes sure that the loop goes to sleep and stays asleep.
///
/// `stream` may be dispatched once or twice more, to find that nothing is left; from then on the
/// loop turns for nothing. This is where a handler that waits for one event too many, or a loop
/// that spins, shows.
pub(crate) fn expect_quiet<B: Backend>(
    event_loop: &mut EventLoop<B, ()>,
    token: Token,
    stream: &TcpStream,
) {
    const QUIET: Duration = Duration::from_millis(5);
    let mut dispatched = 0;
    let mut start = Instant::now();
    let mut turns = 0;
    while let Some(left) = QUIET.checked_sub(start.elapsed()) {
        turns += 1;
        turn(event_loop, Some(left), |context, call| {
            if let Call::Ready(told, readiness) = call {
                assert_eq!(told, token, "only one source is watched");
                dispatched += 1;
                if readiness.is_readable() {
                    let found = read(context, token, stream, &mut [0; 16]);
                    assert!(would_block(&found), "all was read, and then came {found:?}");
                }
                // Silence begins anew.
                start = Instant::now();
            }
        });
    }
    assert!(dispatched <= 2, "a source with nothing to read was dispatched {dispatched} times");
    assert!(turns <= 2 + SPURIOUS, "{turns} turns in {QUIET:?} of silence: the loop spins");
}

/// How many early empty returns of `poll` (contract 2) a few milliseconds of silence may hold. A
/// loop that spins has thousands.
pub(crate) const SPURIOUS: u32 = 20;
