//! The program around [`polyloop_benches::bare_pool`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    polyloop_benches::main_with(polyloop_benches::bare_pool::serve)
}
