//! What is asked of each life, and what was found to be wrong.

use std::{any::Any, fmt, time::Duration};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    /// `StartTask`, `CreateNetwork` and `RecoverTask` answer what is true, and in the end succeed.
    Start,
    /// The program runs once.
    Runs,
    /// The end is reported once, in time.
    End,
    /// The end has its exit code.
    Code,
    /// An error says whether another attempt helps.
    Recoverability,
    /// Commands, statistics and signals answer what is true, and do so at the second attempt at the latest.
    Work,
    /// The task can be stopped.
    Stop,
    /// Nothing is left.
    Left,
    /// The driver serves.
    Serves,
    /// No call outlasts its caller's deadline by more than 10 s.
    Deadline,
    /// All lines of the log come.
    Log,
}

impl fmt::Display for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Start => "start",
            Self::Runs => "runs",
            Self::End => "end",
            Self::Code => "code",
            Self::Recoverability => "recoverability",
            Self::Work => "work",
            Self::Stop => "stop",
            Self::Left => "left",
            Self::Serves => "serves",
            Self::Deadline => "deadline",
            Self::Log => "log",
        })
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) question: Question,
    pub(crate) text: String,
}

/// What became of a life.
pub(crate) struct Outcome {
    /// Whether the call came that gets the fault.
    pub(crate) met: bool,
    pub(crate) findings: Vec<Finding>,
    /// What is no failure, and yet worth a line.
    pub(crate) remarks: Vec<String>,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Of a life that could not be played to its end.
    pub(crate) fn of_panic(panic: &(dyn Any + Send), took: Duration) -> Self {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        let finding = Finding { question: Question::Serves, text: format!("the life ended early: {text}") };
        Self { met: true, findings: vec![finding], remarks: Vec::new(), took }
    }
}
