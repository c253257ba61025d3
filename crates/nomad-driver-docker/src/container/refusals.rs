//! All that is refused of a task: it is told at once.

use super::ContainerError;

/// What is refused so far, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusals(Vec<String>);

impl Refusals {
    /// Adds one, unless it is there.
    pub(super) fn add(&mut self, refusal: impl Into<String>) {
        let refusal = refusal.into();
        if !self.0.contains(&refusal) {
            self.0.push(refusal);
        }
    }

    /// What is allowed; where it is refused, nothing of it.
    pub(super) fn or_nothing<T: Default>(&mut self, allowed: Result<T, ContainerError>) -> T {
        allowed.unwrap_or_else(|ContainerError(refusal)| {
            self.add(refusal);
            T::default()
        })
    }

    /// The value, if nothing is refused.
    pub(super) fn or<T>(self, value: T) -> Result<T, ContainerError> {
        if self.0.is_empty() { Ok(value) } else { Err(ContainerError(self.0.join("; "))) }
    }
}
