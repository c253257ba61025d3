//! What log collection reports: losses as they are noticed, and a summary at the end.

use std::{fmt, sync::Arc, time::Duration};

/// The receiver of [`LogReport`]s. It is called from the collection's own work and must not block.
pub type Report = Arc<dyn Fn(LogReport) + Send + Sync>;

/// A loss, or the risk of one. It is displayed as a text for the task's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogReport {
    /// The engine rotated log files away before they could be opened.
    Missed {
        /// How many.
        files: u64,
    },
    /// The engine rotates the task's files so often that they are opened at ordinary priority from now on.
    TooOften,
    /// The reader of the task's pipes was away for so long that unread files were dropped.
    GivenUp {
        /// How many files.
        files: u64,
        /// Their size.
        bytes: u64,
    },
    /// The engine truncated the log file in place (`max-file` 1): unread output is lost.
    Truncated,
    /// The engine died while writing a line, which cannot be recovered whole.
    CutLine,
    /// The file at which collection left off no longer exists; collection resumes with the oldest existing file.
    PositionLost,
    /// A task was adopted without a record of what was collected; collection starts with what is written from now on.
    PositionUnknown,
    /// What was collected cannot be recorded for now.
    NotRecorded {
        /// Why.
        what: String,
    },
    /// The record of what was collected is late, and the reader's own files do not show how much arrived: what follows the
    /// record is written again.
    RecordLate {
        /// For how long output was written that is not in the record.
        by: Duration,
    },
    /// The task is running, but nothing reads its pipe: its log is stalled.
    NobodyReads {
        /// For how long.
        waited: Duration,
        /// How many bytes are in the pipe.
        bytes: u64,
    },
    /// The pipe of an earlier process no longer exists, and nothing shows how much of its content was read: it is written
    /// again.
    ReadUnknown {
        /// How many bytes.
        bytes: u64,
    },
    /// The container has exited and the reader of its pipes no longer reads: the rest is not delivered.
    ReaderAway {
        /// How long nothing was read.
        waited: Duration,
    },
    /// The container has exited and the engine does not send the rest of its log: the rest is not collected.
    EngineSilent {
        /// How long nothing of it came that could be delivered.
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
            Self::RecordLate { by } => write!(
                f,
                "log lines may be repeated: what was collected in the last {} s could not be recorded",
                by.as_secs()
            ),
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
            Self::EngineSilent { waited } => write!(
                f,
                "the end of the log is not collected: nothing whole of it came from the engine for {} s",
                waited.as_secs()
            ),
            Self::Failed { what } => write!(f, "log collection stopped: {what}"),
        }
    }
}

/// What was collected; reported when a task has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// Bytes delivered by this process.
    pub bytes: u64,
    /// Files that were rotated away unread or given up.
    pub lost_files: u64,
    /// Whether the rest of the log was delivered completely.
    pub complete: bool,
}
