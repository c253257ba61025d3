//! What log collection tells of itself: losses as they are noticed, and a summary at the end.

use std::{fmt, sync::Arc, time::Duration};

/// Where [`LogReport`]s go. Called from the collection's own work: it must not block.
pub type Report = Arc<dyn Fn(LogReport) + Send + Sync>;

/// A loss, or a danger of one. Displayed, it is a text for the task's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogReport {
    /// The engine rotated log files away before they could be opened.
    Missed {
        /// How many.
        files: u64,
    },
    /// The engine rotates the task's files so often that they are opened at an ordinary pace from now on.
    TooOften,
    /// The reader of the task's pipes stayed away for so long that unread files were let go.
    GivenUp {
        /// How many files.
        files: u64,
        /// Their size.
        bytes: u64,
    },
    /// The engine emptied the log file in place (`max-file` 1): what was not read yet is gone.
    Truncated,
    /// The engine died while it wrote a line; that line can't be told whole.
    CutLine,
    /// The file in which collection left off is gone; it goes on with the oldest file that is there.
    PositionLost,
    /// A task was taken over without a record of what was collected; it goes on with what is written from now on.
    PositionUnknown,
    /// There is no place for a record of what was collected.
    NotRecorded {
        /// Why.
        what: String,
    },
    /// Nobody reads the task's pipe, though the task runs: its log stands still.
    NobodyReads {
        /// For how long.
        waited: Duration,
        /// How many bytes lie in the pipe.
        bytes: u64,
    },
    /// The pipe of an earlier process is gone, and nothing shows how much of what lay in it was read: it is written again.
    ReadUnknown {
        /// How many bytes.
        bytes: u64,
    },
    /// The container has exited and the reader of its pipes takes nothing any more: the rest is not delivered.
    ReaderAway {
        /// How long nothing was taken.
        waited: Duration,
    },
    /// Reading or writing failed; collection of this task has stopped.
    Failed {
        /// What failed.
        what: String,
    },
}

impl fmt::Display for LogReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed { files } => write!(f, "log lines lost: the engine rotated {files} log file(s) away unread"),
            Self::TooOften => f.write_str(
                "log lines may be lost: the task's log files are rotated thousands of times a second; a larger max-size keeps them",
            ),
            Self::GivenUp { files, bytes } => write!(
                f,
                "log lines lost: nobody reads the task's log, {files} unread log file(s) of {bytes} bytes were given up"
            ),
            Self::Truncated => f.write_str("log lines may be lost: the engine emptied the log file in place"),
            Self::CutLine => f.write_str("one log line lost: the engine died while it wrote the line"),
            Self::PositionLost => {
                f.write_str("log lines may be lost: the log file in which collection left off was rotated away")
            }
            Self::PositionUnknown => {
                f.write_str("earlier log lines are not collected: there is no record of what was collected before")
            }
            Self::NotRecorded { what } => {
                write!(
                    f,
                    "log lines may be lost when the driver restarts: there is no record of what was collected: {what}"
                )
            }
            Self::NobodyReads { waited, bytes } => write!(
                f,
                "nobody has read the task's log for {} s ({bytes} bytes wait in the pipe): nothing is lost yet, the log goes on when \
                 the agent opens the pipe again, as it does when the task or the agent restarts",
                waited.as_secs()
            ),
            Self::ReadUnknown { bytes } => write!(
                f,
                "log lines may be repeated: nothing shows how many of the last {bytes} bytes were read before the pipe was closed"
            ),
            Self::ReaderAway { waited } => {
                write!(f, "the end of the log is not delivered: nobody read it for {} s", waited.as_secs())
            }
            Self::Failed { what } => write!(f, "log collection stopped: {what}"),
        }
    }
}

/// What was collected, told when a task has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// Bytes delivered by this process.
    pub bytes: u64,
    /// Files that were rotated away unread or given up.
    pub lost_files: u64,
    /// Whether all that is left of the log was delivered.
    pub complete: bool,
}
