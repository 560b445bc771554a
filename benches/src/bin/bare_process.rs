//! The program around `polyloop_benches::bare_process`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    polyloop_benches::main_alone(polyloop_benches::bare_process::serve)
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("bare_process: Unix only, for it forks");
    ExitCode::FAILURE
}
