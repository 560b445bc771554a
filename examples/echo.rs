//! An echo server, the smallest there is.
//!
//! ```text
//! cargo run --release --example echo            # one terminal
//! nc 127.0.0.1 7000                             # another: type lines
//! ```

use polyloop::{Connection, Protocol, Server};

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

fn main() -> std::io::Result<()> {
    env_logger::init();
    Server::builder().listen("127.0.0.1:7000").build(|_peer| Echo)?.run()
}
