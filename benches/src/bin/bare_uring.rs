//! The program around `polyloop_benches::bare_uring`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    polyloop_benches::main(polyloop_benches::bare_uring::serve)
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("bare_uring: io_uring is Linux only");
    ExitCode::FAILURE
}
