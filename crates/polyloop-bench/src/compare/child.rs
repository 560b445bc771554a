//! A child process that talks in lines, and ends when its standard input does.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

/// How long a child may take to end after its standard input was closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long its last words are waited for once it has ended: a child of its own may hold its
/// standard error for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a line may be: some times the length of any answer.
const LONGEST: u64 = 64 * 1024;
/// How many lines may wait to be heard: each of them answers a question.
const UNHEARD: usize = 16;

/// A child process with its standard input and output in our hands.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: Process,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    last_words: Receiver<String>,
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
        let (sender, lines) = mpsc::sync_channel(UNHEARD);
        if let Some(stdout) = process.stdout.take() {
            thread::spawn(move || pass_on(BufReader::new(stdout), &sender));
        }
        let (sender, last_words) = mpsc::channel();
        if let Some(stderr) = process.stderr.take() {
            thread::spawn(move || sender.send(last_line(stderr)));
        }
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
        match self.last_words.recv_timeout(LAST_WORDS) {
            Ok(words) if !words.is_empty() => words,
            _ => match self.process.wait() {
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

/// Passes lines on as long as somebody hears them. What is too long comes in pieces, which nobody
/// understands.
fn pass_on(mut from: impl BufRead, to: &SyncSender<String>) {
    loop {
        let mut line = Vec::new();
        match from.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        if to.send(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()).is_err() {
            return;
        }
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
    fn a_line_without_an_end_is_cut() {
        let (sender, lines) = mpsc::sync_channel(2);
        thread::spawn(move || pass_on(BufReader::new(std::io::repeat(b'x')), &sender));
        assert_eq!(lines.recv().unwrap().len() as u64, LONGEST);
        drop(lines);

        let (sender, lines) = mpsc::sync_channel(2);
        pass_on(&b"{}\r\n\xff"[..], &sender);
        drop(sender);
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), ["{}", "\u{fffd}"]);
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = Child::start("server", Path::new("no-such-program"), &[]).unwrap_err();
        assert!(error.contains("no-such-program"), "{error}");
    }
}
