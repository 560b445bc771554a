//! The `polyloop` program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::init();
    polyloop_bench::cli::main()
}
