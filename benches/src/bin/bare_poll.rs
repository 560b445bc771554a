//! The program around `polyloop_benches::bare_poll`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    polyloop_benches::main(polyloop_benches::bare_poll::serve)
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("bare_poll: this system has no poll(2)");
    ExitCode::FAILURE
}
