//! `polyloop atlas`: what readiness means, as every system call and every backend tells it.

pub mod page;
pub mod table;

use polyloop_conformance::atlas::{self, Atlas, Scenario};
use polyloop_models::BackendKind;

use crate::mistake::Mistake;
use crate::text::wrap;

/// What is to be shown.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Names of scenarios; all if there is none.
    pub scenarios: Vec<String>,
    /// Names of backends; all if there is none.
    pub backends: Vec<String>,
}

/// Plays what was asked for.
///
/// # Errors
///
/// A name that does not exist ([`Mistake`]), or a backend that this system lacks.
pub fn run(settings: &Settings) -> anyhow::Result<Atlas> {
    let scenarios = match settings.scenarios.as_slice() {
        [] => Scenario::all().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?,
    };
    let backends = match settings.backends.as_slice() {
        [] => BackendKind::ALL.to_vec(),
        names => names
            .iter()
            .map(|name| name.parse::<BackendKind>().map_err(|unknown| Mistake(unknown.to_string())))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let atlas = atlas::run(&scenarios, &backends);
    match atlas.lacking.iter().next() {
        Some((_, reason)) if !settings.backends.is_empty() => Err(anyhow::anyhow!("{reason}")),
        _ => Ok(atlas),
    }
}

/// The scenario of a name.
///
/// # Errors
///
/// There is none; the message names those that are meant perhaps.
pub fn find(name: &str) -> Result<&'static Scenario, Mistake> {
    if let Some(scenario) = Scenario::all().find(|scenario| scenario.name == name) {
        return Ok(scenario);
    }
    let alike: Vec<_> = Scenario::all()
        .map(|scenario| scenario.name)
        .filter(|known| known.contains(name) || name.contains(known))
        .collect();
    let tip = if alike.is_empty() {
        "polyloop atlas --list shows all".to_owned()
    } else {
        format!("meant perhaps: {}", alike.join(", "))
    };
    Err(Mistake(format!("there is no scenario {name:?} ({tip})")))
}

/// The names of all scenarios and what they are, group by group.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    let mut group = None;
    for scenario in Scenario::all() {
        if group != Some(scenario.group) {
            let between = if group.is_none() { "" } else { "\n" };
            text += &format!("{between}{}\n", scenario.group.title());
            group = Some(scenario.group);
        }
        let elsewhere = if scenario.is_here() { "" } else { " (not on this system)" };
        text += &format!("  {:20} {}{elsewhere}\n", scenario.name, scenario.what);
    }
    text
}

/// Why a scenario comes out as it does, and how it came out.
#[must_use]
pub fn explain(scenario: &Scenario, atlas: &Atlas) -> String {
    let see = format!("See {}.", scenario.see.join("; "));
    format!(
        "{}: {}\n\n{}\n\n{}\n{}",
        scenario.name,
        scenario.what,
        wrap(scenario.why, 80),
        wrap(&see, 80),
        table::tables(atlas),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_is_answered_with_those_that_are_alike() {
        let message = |name: &str| find(name).unwrap_err().to_string();
        assert!(message("half").contains("half-close, data-half-close"), "{}", message("half"));
        assert!(message("nonsense").contains("--list"));
    }

    #[test]
    fn an_unknown_backend_is_a_mistake_in_usage() {
        let settings = Settings { backends: vec!["uring".to_owned()], ..Settings::default() };
        assert!(run(&settings).unwrap_err().is::<Mistake>());
    }

    #[test]
    fn all_scenarios_are_listed() {
        let list = list();
        for scenario in Scenario::all() {
            assert!(list.contains(&format!("  {} ", scenario.name)), "{}", scenario.name);
        }
    }
}
