//! What a server does that forks, or that gets no thread, in a process of its own: this program,
//! started again. The first has to be its only thread, and the harness has others, so that it is not
//! here; the second is kept to a limit of its process.

#[cfg(unix)]
mod unix;

fn main() {
    #[cfg(unix)]
    unix::run();
}
