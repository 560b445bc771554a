//! The command line: what can be asked for, and what an error looks like.

use std::process::ExitCode;

use clap::Parser;

use arguments::{Cli, Command};

use crate::mistake::Mistake;
use crate::output;

mod arguments;
mod commands;

/// Runs the program with the arguments of this process.
///
/// The exit code is 0, 1 for a failure, 2 for a mistake in the arguments, and 130 after an
/// interrupt.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let result = match cli.command {
        None => commands::compare(cli.compare),
        Some(Command::Compare(args)) => commands::compare(*args),
        Some(Command::Report(args)) => commands::report(&args),
        Some(Command::Serve(args)) => commands::serve(args),
        Some(Command::Load(args)) => commands::load(&args),
        Some(Command::Atlas(args)) => commands::atlas(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::tell(&format!("polyloop: {error:#}"));
            ExitCode::from(if error.is::<Mistake>() { 2 } else { 1 })
        }
    }
}

/// Prints what clap says: help and version in full, a mistake as one line.
pub fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed output is no reason to complain.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("error: wrong arguments");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // "the following required arguments were not provided:" goes on in the next line.
    let rest = if first.ends_with(':') { lines.next().unwrap_or("") } else { "" };
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let tip = tip.map_or_else(|| "--help shows what is possible".to_owned(), str::to_owned);
    let space = if rest.is_empty() { "" } else { " " };
    output::tell(&format!("polyloop: {first}{space}{rest} ({tip})"));
    ExitCode::from(2)
}
