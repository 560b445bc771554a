//! What a comparison found, and how it gets to disk without ever being half written.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail, Context};
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, PathPersistError, TempPath};

use super::cell::{Cell, Outcome};
use super::plan::{Contestant, Scenario};
use super::summary::Row;
use crate::process::Machine;
use crate::protocols::{Builtin, Cost};
use crate::transport::Transport;

/// The version of the file's layout.
pub const FORMAT: u32 = 2;

/// Everything that a comparison found. The table is drawn from this and from nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The version of this layout.
    pub format: u32,
    /// The program and its version.
    pub program: String,
    /// The command line.
    pub command: Vec<String>,
    /// When the run began, in UTC.
    pub started: String,
    /// What it ran on.
    pub machine: Machine,
    /// The conditions.
    pub setup: Setup,
    /// The kinds of load.
    pub scenarios: Vec<Scenario>,
    /// The servers.
    pub contestants: Vec<Contestant>,
    /// How many rounds are complete.
    pub rounds_done: u32,
    /// What was measured, in the order in which it was.
    pub cells: Vec<Cell>,
    /// What the cells come to, a row for each scenario and contestant.
    pub summary: Vec<Row>,
    /// The file that this was saved in.
    pub saved: Option<PathBuf>,
}

/// The conditions of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// What connections said.
    #[serde(default)]
    pub protocol: Builtin,
    /// What carried requests.
    #[serde(default)]
    pub transport: Transport,
    /// What a request of [`Work`](crate::protocols::Work) took.
    #[serde(default)]
    pub cost: Cost,
    /// What the order of the measurements follows from.
    pub seed: u64,
    /// How many rounds were planned.
    pub rounds: u32,
    /// How long each measurement makes new requests, in seconds.
    pub duration_s: f64,
    /// How long requests are made before that, in seconds.
    pub warmup_s: f64,
    /// How many connections may wait to be accepted.
    pub backlog: u32,
    /// How far from one a ratio may be and still mean the same.
    pub margin: f64,
    /// The contestant that the others are divided by.
    pub baseline: String,
    /// The processors that this program may use, where the system tells.
    pub processors: Option<Vec<usize>>,
    /// The processors that servers were pinned to; empty if they were not.
    pub server_processors: Vec<usize>,
    /// The processor that the load generator was pinned to.
    pub load_processor: Option<usize>,
}

impl Results {
    /// Says why the run must count as failed, if it must: nothing could be measured.
    pub fn failure(&self) -> Option<String> {
        let reason = self.cells.iter().find_map(|cell| match &cell.outcome {
            Outcome::Measured(_) => None,
            Outcome::Failed(reason) => Some(reason),
        })?;
        let all = self.cells.iter().all(|cell| matches!(cell.outcome, Outcome::Failed(_)));
        all.then(|| format!("nothing could be measured: {reason}"))
    }
}

/// Makes sure that `path` can be written, before hours of measuring depend on it.
///
/// # Errors
///
/// One line that names the file and the obstacle.
pub fn check(path: &Path) -> anyhow::Result<()> {
    if path.to_str().is_none() {
        // It is one of the results, and JSON has no other texts.
        return Err(anyhow!("its name is no text in UTF-8").context(cannot(path)));
    }
    new_beside(path)?;
    let mut options = File::options();
    options.write(true);
    // Its own name would else be tried only when a round has been measured.
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            drop(file);
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path).map(drop),
        Err(error) => Err(error),
    }
    .with_context(|| cannot(path))
}

/// Writes the results to `path`: first beside it, then in one step under its name, so that
/// neither a full disk nor an interrupt destroys what was there.
///
/// # Errors
///
/// One line that names the file and the obstacle.
pub fn write(path: &Path, results: &Results) -> anyhow::Result<()> {
    let mut file = new_beside(path)?;
    serde_json::to_writer_pretty(&mut file, results)
        .map_err(std::io::Error::from)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.flush())
        .with_context(|| cannot(path))?;
    let (file, partial) = file
        .into_inner()
        .map_err(|error| error.into_error())
        .with_context(|| cannot(path))?
        .into_parts();
    file.sync_all().with_context(|| cannot(path))?;
    drop(file);
    rename(partial, path)
}

/// Gives a complete file its name. If it can't have it, it stays where it is: it holds what was
/// measured.
fn rename(partial: TempPath, path: &Path) -> anyhow::Result<()> {
    let PathPersistError { error, path: partial } = match partial.persist(path) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let error = match partial.keep() {
        Ok(kept) => anyhow!("{error}; they are in {}", kept.display()),
        Err(_) => error.into(),
    };
    Err(error.context(cannot(path)))
}

/// Reads what [`write()`] wrote.
///
/// # Errors
///
/// One line that names the file and says why it holds nothing to show: there is no such file, it is
/// none of a comparison, or another version of this program wrote it.
pub fn read(path: &Path) -> anyhow::Result<Results> {
    /// All that is sure to be in a file of any format.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let path_shown = path.display();
    let text = std::fs::read(path).with_context(|| format!("cannot read {path_shown}"))?;
    let no_results = || format!("{path_shown} holds no results of a comparison");
    let Version { format } = serde_json::from_slice(&text).with_context(no_results)?;
    if format != FORMAT {
        bail!(
            "{path_shown} is of format {format} and this program knows format {FORMAT}: show it with \
             the version of polyloop that saved it"
        );
    }
    serde_json::from_slice(&text).with_context(no_results)
}

/// Makes a temporary file in the folder of `path`, and the folder if need be.
fn new_beside(path: &Path) -> anyhow::Result<BufWriter<NamedTempFile>> {
    // What takes its place would be no device any more.
    if path.metadata().is_ok_and(|what| !what.is_file()) {
        return Err(anyhow!("it exists and is no file").context(cannot(path)));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // With the permissions of any new file: tempfile's own are for secrets.
    let create = |path: &Path| File::options().write(true).create_new(true).open(path);
    std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::Builder::new().prefix(".polyloop-").make_in(folder, create))
        .map(BufWriter::new)
        .with_context(|| cannot(path))
}

fn cannot(path: &Path) -> String {
    format!("cannot save the results in {} (--out names another file)", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_have_its_name_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, partial) = NamedTempFile::new_in(&folder).unwrap().into_parts();
        file.write_all(b"results").unwrap();
        drop(file);
        let error = rename(partial, &folder.path().join("x".repeat(300))).unwrap_err();
        let error = format!("{error:#}");
        let (_, kept) = error.split_once("; they are in ").unwrap();
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "results", "{error}");
    }
}
