//! What was asked for and can't be.

/// A mistake in what was asked for, as opposed to a failure in doing it: exit code 2.
#[derive(Debug)]
pub struct Mistake(
    /// What is wrong and what would be right.
    pub String,
);

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}
