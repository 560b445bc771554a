//! The program around [`polyloop_benches::tokio_current_thread`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    polyloop_benches::main(polyloop_benches::tokio_current_thread::serve)
}
