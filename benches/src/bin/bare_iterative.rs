//! The program around [`polyloop_benches::bare_iterative`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    polyloop_benches::main(polyloop_benches::bare_iterative::serve)
}
