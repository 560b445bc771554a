//! A child process that talks in lines, and ends when its standard input does.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

/// How long a child may take to end after its standard input was closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// A child process with its standard input and output in our hands.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: Process,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    last_words: Option<JoinHandle<String>>,
}

impl Child {
    /// Starts a program. `name` is what messages call it.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
    ) -> Result<Self, String> {
        let mut process = Command::new(program)
            .args(arguments)
            // It is there for this program: whoever logs is slower, and a server that traces leaves
            // its shortest path.
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let stdin = process.stdin.take();
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let last_words = process.stderr.take().map(|stderr| thread::spawn(|| last_line(stderr)));
        Ok(Child { name, process, stdin, lines, last_words })
    }

    /// Sends a line and reads the answer.
    pub(super) fn ask<T: DeserializeOwned>(
        &mut self,
        line: &str,
        timeout: Duration,
    ) -> Result<T, String> {
        let sent = self
            .stdin
            .as_mut()
            .is_some_and(|stdin| stdin.write_all(format!("{line}\n").as_bytes()).is_ok());
        if !sent {
            return Err(self.why_it_ended());
        }
        self.hear(timeout)
    }

    /// Reads a line.
    pub(super) fn hear<T: DeserializeOwned>(&mut self, timeout: Duration) -> Result<T, String> {
        match self.lines.recv_timeout(timeout) {
            Ok(line) => serde_json::from_str(&line).map_err(|error| {
                format!("the {} said something unexpected: {line:.60} ({error})", self.name)
            }),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("the {} did not answer for {} s", self.name, timeout.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.why_it_ended()),
        }
    }

    /// Says what a child that has ended said last.
    fn why_it_ended(&mut self) -> String {
        self.end();
        let words = self.last_words.take().and_then(|thread| thread.join().ok());
        match words.filter(|words| !words.is_empty()) {
            Some(words) => words,
            None => match self.process.wait() {
                Ok(status) => format!("the {} ended unasked ({status})", self.name),
                Err(_) => format!("the {} ended unasked", self.name),
            },
        }
    }

    /// Closes the child's standard input and waits for its end; kills it if it stays.
    fn end(&mut self) {
        self.stdin = None;
        let begun = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if begun.elapsed() > FAREWELL {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads to the end and keeps the last line that is not empty, without the program's name.
fn last_line(mut from: impl Read) -> String {
    let mut last = String::new();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    // Bounded, whatever the child writes: what matters stands at its end.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
        let surplus = bytes.len().saturating_sub(buffer.len());
        bytes.drain(..surplus);
    }
    for line in String::from_utf8_lossy(&bytes).lines() {
        if !line.trim().is_empty() {
            last = line.trim().to_owned();
        }
    }
    match last.strip_prefix("polyloop: ") {
        Some(rest) => rest.to_owned(),
        None => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_kept_whatever_came_before() {
        let noise = "noise\n".repeat(100_000) + "\npolyloop: port in use\n\n";
        assert_eq!(last_line(noise.as_bytes()), "port in use");
        assert_eq!(last_line(&b""[..]), "");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = Child::start("server", Path::new("no-such-program"), &[]).unwrap_err();
        assert!(error.contains("no-such-program"), "{error}");
    }
}
