//! The one place that says which model can't run which scenario, and why.

use polyloop_models::Model;

/// Model, scenario and reason.
const EXCUSES: [(Model, &str, &str); 0] = [];

/// Why a model can't do what a scenario asks, or `None` if it must.
#[must_use]
pub fn excuse(model: Model, scenario: &str) -> Option<&'static str> {
    let found = EXCUSES.iter().find(|&&(whose, name, _)| whose == model && name == scenario);
    found.map(|&(_, _, reason)| reason)
}

#[cfg(test)]
mod tests {
    #[test]
    fn excuses_name_scenarios() {
        for (_, name, _) in super::EXCUSES {
            assert!(crate::protocol::list::NAMES.contains(&name), "there is no scenario {name}");
        }
    }
}
