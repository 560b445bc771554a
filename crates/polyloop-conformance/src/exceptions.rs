//! The one place that says which scenario can't hold, where, and why.

/// Why a backend can't do what a scenario asks, or `None` if it must.
#[must_use]
pub fn excuse(backend: &str, scenario: &str) -> Option<&'static str> {
    let _ = (backend, scenario);
    None
}
