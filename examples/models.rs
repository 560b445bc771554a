//! One protocol, served by whichever model the command line names. One terminal, and another:
//!
//!     cargo run --release --example models thread
//!     nc 127.0.0.1 7000
//!
//! The answer is the same from every model; how they differ shows in `top -H`, in `strace -f`, and
//! in `cargo run --release`, which compares them.

use std::io::Write;

use clap::Parser;
use polyloop::{Address, Config, Connection, Protocol};
use polyloop_models::Model;

/// Answers each line with its number and its length, and ends at the line `##`.
///
/// A stream has no messages: several lines may come at once, or a part of one. The line's end is
/// the boundary, and what stands after the last one is left for the next call.
#[derive(Default)]
struct Lines {
    answered: u64,
}

impl Protocol for Lines {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        let mut used = 0;
        for line in input.split_inclusive(|&byte| byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            used += line.len() + 1;
            if line == b"##" {
                connection.close();
                break;
            }
            self.answered += 1;
            // Writing to a connection never fails: what the kernel does not take is queued.
            let _ = writeln!(connection, "line {}: {} bytes", self.answered, line.len());
        }
        used
    }
}

/// One protocol, any model
#[derive(Parser)]
struct Arguments {
    /// How connections are held
    #[arg(default_value_t = Model::Mio, help = help())]
    model: Model,
    /// Where to listen; port 0 lets the system choose
    #[arg(default_value = "127.0.0.1:7000")]
    listen: Address,
}

fn help() -> String {
    let models =
        Model::ALL.iter().map(|model| format!("\n  {:10}{}", model.name(), model.summary()));
    format!("How connections are held:{}", models.collect::<String>())
}

fn main() -> anyhow::Result<()> {
    env_logger::init();
    let Arguments { model, listen } = Arguments::parse();
    let server = model.bind(listen, Config::default(), |_| Lines::default())?;
    println!("listening on {} with {}", server.addresses()[0], model.summary());
    Ok(server.run()?)
}
