//! The smallest server that `polyloop compare` can start beside its own: a thread for each
//! connection, and the few lines that let it be measured.
//!
//! ```text
//! cargo build --release -p polyloop-bench --example peer
//! cargo run --release -- compare --models mio --peer mine=target/release/examples/peer
//! ```
#![forbid(unsafe_code)]

use std::io;
use std::net::TcpStream;

use clap::Parser;
use polyloop::Address;
use polyloop_bench::control::{Counted, Listening};
use polyloop_bench::{serve, transport};

/// An echo server with a thread for each connection
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:7000", value_parser = transport::parse_address)]
    listen: Address,
    #[arg(long, default_value_t = 1024)]
    backlog: u32,
    #[arg(long)]
    control: bool,
    #[arg(long)]
    pin: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let raised_descriptor_limit = serve::prepare(arguments.pin)?;
    let listener = polyloop::listen(&arguments.listen, arguments.backlog)?;
    let listening = Listening {
        listening: listener.address().to_string(),
        raised_descriptor_limit,
        pinned: arguments.pin,
        ..Listening::default()
    };
    serve::announce(&listening, arguments.control, Counted::default)?;
    loop {
        let (stream, _) = listener.accept()?;
        std::thread::spawn(move || echo(&stream));
    }
}

fn echo(stream: &TcpStream) -> io::Result<u64> {
    stream.set_nodelay(true)?;
    io::copy(&mut &*stream, &mut &*stream)
}
