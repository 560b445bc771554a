//! How a connect ended, which a loop is told of and asks.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use polyloop::{Backend, Context, Interest};

use crate::script::{new_loop, run, would_block, Call};
use crate::sockets::{connect_here, refusing, reset};
use crate::Make;

/// Asks each time that the loop tells of the stream, after `before`, and returns the first answer
/// but to wait.
fn ask<B: Backend>(
    make: Make<B>,
    mut stream: TcpStream,
    mut before: impl FnMut(&mut Context<B>, &TcpStream),
) -> io::Result<()> {
    let mut event_loop = new_loop(make);
    let token = event_loop.context().register(&mut stream, Interest::WRITABLE).expect("new");
    let mut answer = None;
    run(&mut event_loop, |context, call| {
        let Call::Ready(..) = call else { return };
        before(context, &stream);
        let asked = context.connected(token, &stream);
        if !would_block(&asked) {
            answer = Some(asked);
            context.stop();
        }
    });
    answer.expect("the loop was stopped with an answer")
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("a connect that does not wait begins")
}

/// A connect to somebody who listens has succeeded.
pub fn a_connect_is_asked_how_it_ended<B: Backend>(make: Make<B>) {
    let (ours, _peer) = connect_here(connect);
    ask(make, ours, |_, _| {}).expect("it was accepted");
}

/// A connect that was refused says so, and is no success if it is asked again.
pub fn a_refused_connect_says_so<B: Backend>(make: Make<B>) {
    let (_kept, address) = refusing();
    let error = ask(make, connect(address), |_, _| {}).expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let forget = |_: &mut Context<B>, ours: &TcpStream| _ = ours.take_error();
    ask(make, connect(address), forget).expect_err("nobody listens");
}

/// A connection that was made and cut before anybody asked is not waited for, even where the error
/// has gone to somebody else: nothing further would come.
pub fn a_connect_that_was_cut_is_not_waited_for<B: Backend>(make: Make<B>) {
    let (ours, peer) = connect_here(connect);
    let mut peer = Some(peer);
    let mut cut = |_: &mut Context<B>, ours: &TcpStream| {
        if let Some(peer) = peer.take() {
            reset(peer);
        }
        let _ = ours.take_error();
    };
    ask(make, ours, &mut cut).expect_err("nothing was sent");
}
