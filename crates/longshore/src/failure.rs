//! Why a command did not do what it was asked, and the exit code that says so.

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A task failed; its events have said why.
    #[error("a task failed")]
    Task,
    /// Images cannot be had; each has said why.
    #[error("{0}")]
    Image(String),
    /// The command line, the job file, or what they name.
    #[error("{0}")]
    Usage(String),
    /// The driver or its engine.
    #[error("{0}")]
    Engine(String),
    /// A command inside a task ended with this code.
    #[error("exit code {0}")]
    Code(u8),
}

impl Failure {
    /// The code of the whole program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Task | Self::Image(_) => 1,
            Self::Usage(_) => 2,
            Self::Engine(_) => 3,
            Self::Code(code) => *code,
        }
    }
}
