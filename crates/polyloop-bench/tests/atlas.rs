//! The committed atlas of Linux against a fresh run, and the width of its tables.
#![cfg(target_os = "linux")]

use polyloop_bench::atlas::{page, run, table, Settings};

/// Set to write the page instead of checking it.
const RENEW: &str = "POLYLOOP_RENEW_ATLAS";

/// How many columns a line may take.
const WIDTH: usize = 100;

/// One test, and alone in its program: a scenario starts a process, which has a duplicate of every
/// descriptor until it runs a program of its own, and what is closed in a scenario that runs beside
/// it is not closed until then.
#[test]
fn the_page_is_what_this_system_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/atlas-linux.md");
    let atlas = run(&Settings::default()).unwrap();
    for line in table::draw(&atlas).lines() {
        assert!(line.chars().count() <= WIDTH, "{}: {line}", line.chars().count());
    }
    let seen = page::write(&atlas);
    if std::env::var_os(RENEW).is_some() {
        return std::fs::write(path, seen).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    let mut lines = written.lines().zip(seen.lines()).enumerate();
    if let Some((number, (written, seen))) = lines.find(|(_, (written, seen))| written != seen) {
        panic!(
            "docs/atlas-linux.md, line {}, is not what this system does.\nwritten {written}\n\
             seen    {seen}\n{RENEW}=1 and this test write it anew.",
            number + 1
        );
    }
    assert_eq!(written, seen, "{RENEW}=1 and this test write it anew");

    let again = run(&Settings::default()).unwrap();
    let rows = |atlas| serde_json::to_value(atlas).unwrap();
    assert_eq!(rows(&atlas), rows(&again), "a second run sees the same");
}
