//! The program around `polyloop_benches::bare_select`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    polyloop_benches::main(polyloop_benches::bare_select::serve)
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("bare_select: this system has no select(2)");
    ExitCode::FAILURE
}
