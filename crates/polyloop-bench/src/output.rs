//! What the program prints for its user.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Writes a text to the standard output.
///
/// A reader that has gone, as `head` does, has seen what it wanted: that is no error.
///
/// # Errors
///
/// The standard output cannot be written to, such as a file on a disk that is full.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to the standard output"),
    }
}

/// Writes a line to the standard error, if that can be written: who can't be told why the program
/// ends still gets its exit code.
pub fn tell(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Writes a value to the standard output as JSON for people to read, too.
///
/// # Errors
///
/// As for [`print()`].
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
