//! All that is refused of a task: it is told at once.

use super::ContainerError;

/// What is refused so far, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections(Vec<String>);

impl Rejections {
    /// Adds one, unless it is there.
    pub fn add(&mut self, rejection: impl Into<String>) {
        let rejection = rejection.into();
        if !self.0.contains(&rejection) {
            self.0.push(rejection);
        }
    }

    /// What is allowed; where it is refused, nothing of it.
    pub fn or_nothing<T: Default>(&mut self, allowed: Result<T, ContainerError>) -> T {
        allowed.unwrap_or_else(|ContainerError(rejection)| {
            self.add(rejection);
            T::default()
        })
    }

    /// The value, if nothing is refused.
    pub fn or<T>(self, value: T) -> Result<T, ContainerError> {
        if self.0.is_empty() { Ok(value) } else { Err(ContainerError(self.0.join("; "))) }
    }
}
