//! The program around `polyloop_benches::bare_epoll`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use polyloop_benches::bare_epoll::{serve, Trigger};

    #[derive(Debug, clap::Args)]
    struct More {
        /// How the kernel tells readiness
        #[arg(long, value_enum, default_value = "level")]
        trigger: Trigger,
    }

    polyloop_benches::main_with(|listener, more: More| serve(listener, more.trigger))
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("bare_epoll: this system has no epoll");
    ExitCode::FAILURE
}
