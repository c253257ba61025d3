//! All rejections of a task, which are reported at once.

use super::ContainerError;

/// The rejections so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections(Vec<String>);

impl Rejections {
    /// Adds a rejection, unless it is already there.
    pub fn add(&mut self, rejection: impl Into<String>) {
        let rejection = rejection.into();
        if !self.0.contains(&rejection) {
            self.0.push(rejection);
        }
    }

    /// The allowed value; if it was rejected, the default.
    pub fn or_nothing<T: Default>(&mut self, allowed: Result<T, ContainerError>) -> T {
        allowed.unwrap_or_else(|ContainerError(rejection)| {
            self.add(rejection);
            T::default()
        })
    }

    /// The value, if there are no rejections.
    pub fn or<T>(self, value: T) -> Result<T, ContainerError> {
        if self.0.is_empty() { Ok(value) } else { Err(ContainerError(self.0.join("; "))) }
    }
}
