//! Writes an atlas as a page of documentation.

use polyloop_conformance::atlas::{Atlas, Scenario};

use super::{table, text};

/// Writes the page: the tables, and why they are as they are.
#[must_use]
pub fn write(atlas: &Atlas) -> String {
    let mut page = format!(
        "# What readiness means on {}\n\n\
         Printed by `polyloop atlas` and checked by the tests: do not edit (CONTRIBUTING.md says \
         how it is\nrenewed). Each row is a moment of a scenario: what the kernel says when it is \
         asked directly, and what\npolyloop tells a handler. Why is said [below](#why), and by \
         `polyloop atlas --explain NAME`.\n\n\
         ```text\n{}```\n\n## Why\n",
        system(atlas.system),
        table::draw(atlas),
    );
    let mut group = None;
    for scenario in Scenario::all() {
        if group != Some(scenario.group) {
            page += &format!("\n### {}\n", scenario.group.title());
            group = Some(scenario.group);
        }
        let paragraph = format!(
            "**{}**: {}. {} *{}.*",
            scenario.name,
            scenario.what,
            scenario.why,
            scenario.see.join("; "),
        );
        page += &format!("\n{}\n", text::wrap(&paragraph, table::WIDTH));
    }
    page
}

fn system(name: &str) -> &str {
    match name {
        "linux" => "Linux",
        "macos" => "macOS",
        "freebsd" => "FreeBSD",
        "windows" => "Windows",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use crate::atlas::{run, Settings};

    #[test]
    #[cfg(target_os = "linux")]
    fn the_page_is_what_this_system_does() {
        /// Set to write the page instead of checking it.
        const RENEW: &str = "POLYLOOP_RENEW_ATLAS";

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/atlas-linux.md");
        let seen = super::write(&run(&Settings::default()).unwrap());
        if std::env::var_os(RENEW).is_some() {
            return std::fs::write(path, seen).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        let mut lines = written.lines().zip(seen.lines()).enumerate();
        if let Some((number, (written, seen))) = lines.find(|(_, (written, seen))| written != seen)
        {
            panic!(
                "docs/atlas-linux.md, line {}, is not what this system does.\nwritten {written}\n\
                 seen    {seen}\n{RENEW}=1 and this test write it anew.",
                number + 1
            );
        }
        assert_eq!(written, seen, "{RENEW}=1 and this test write it anew");
    }

    #[test]
    fn two_runs_see_the_same() {
        let rows = || serde_json::to_value(run(&Settings::default()).unwrap()).unwrap();
        assert_eq!(rows(), rows());
    }
}
