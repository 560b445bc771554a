//! The `polyloop` program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // A server that refuses somebody, or stands still, says so unasked.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    polyloop_bench::cli::main()
}
