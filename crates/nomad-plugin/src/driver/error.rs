//! How a driver says no.

/// What to make of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recoverability {
    /// A new attempt may succeed: the restart policy decides.
    Recoverable,
    /// A new attempt is pointless, and the driver says so.
    Fatal,
    /// Nothing said; hosts take it for fatal.
    Unsaid,
}

/// A driver's rejection or failure, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    /// The whole text.
    pub message: String,
    /// Whether a new attempt may succeed.
    pub recoverability: Recoverability,
}

impl DriverError {
    /// The text of every call for a task that the driver does not know.
    pub const TASK_NOT_FOUND: &str = "task not found for given id";

    /// A failure of which nothing more is known.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), recoverability: Recoverability::Unsaid }
    }

    /// A failure that a new attempt may get past.
    pub fn recoverable(message: impl Into<String>) -> Self {
        Self { message: message.into(), recoverability: Recoverability::Recoverable }
    }

    /// A failure that no new attempt gets past.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), recoverability: Recoverability::Fatal }
    }

    /// A failure of which it is known whether a new attempt may get past it.
    pub fn recoverable_if(recoverable: bool, message: impl Into<String>) -> Self {
        if recoverable { Self::recoverable(message) } else { Self::fatal(message) }
    }

    /// A failure that a new attempt may get past, or of which nothing more is known.
    pub fn recoverable_or_unsaid(recoverable: bool, message: impl Into<String>) -> Self {
        if recoverable { Self::recoverable(message) } else { Self::new(message) }
    }

    /// The task is not known.
    pub fn task_not_found() -> Self {
        Self::new(Self::TASK_NOT_FOUND)
    }
}
