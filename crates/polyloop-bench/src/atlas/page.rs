//! Writes an atlas as a page of documentation.

use polyloop_conformance::atlas::{Atlas, Scenario};

use super::table;
use crate::text::{wrap, WIDTH};

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
        page += &format!("\n{}\n", wrap(&paragraph, WIDTH));
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
