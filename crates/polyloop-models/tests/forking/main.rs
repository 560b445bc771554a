//! What a server that forks does in a process of its own, of which it is the only thread: this
//! program, started again. The test harness has threads, and so it is not here.

#[cfg(unix)]
mod unix;

fn main() {
    #[cfg(unix)]
    unix::run();
}
