//! An echo server, the smallest there is. One terminal, and another to type lines in:
//!
//!     cargo run --release --example echo
//!     nc 127.0.0.1 7000

use polyloop::{Connection, Protocol, Server};

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

fn main() -> anyhow::Result<()> {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let server = Server::builder().listen(address).build(|_| Echo)?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.run()?)
}
