//! The file in which a container's position is recorded for the process's successor.
//!
//! A log is collected whether or not its position can be stored: the disk may be full or read-only, or the file gone. That is
//! reported once, and storing is tried again. What is on the disk is then late: older than what was written to the pipes.
//!
//! ```text
//! stored -> (storing fails) overdue -> (storing succeeds) stored
//! ```

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    position::{Position, SIZE},
    records::Records,
    report::{LogReport, Report},
    sink::Outlet,
};

/// The pause before storing is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often it is checked that the file still has a name.
const LOOK: Duration = Duration::from_secs(1);
/// How much later than the record an output may be written: the write comes right after its announcement.
const PROMPT: Duration = Duration::from_secs(1);

/// The record of a container's position.
pub(super) struct Record {
    records: Records,
    container: String,
    report: Report,
    file: Option<File>,
    looked: Instant,
    /// When storing failed last, if it did not succeed since.
    failed: Option<Instant>,
}

/// The position of an earlier process.
pub(super) struct Earlier {
    pub(super) position: Position,
    /// For how long output was written that is not in the record.
    pub(super) late: Option<Duration>,
}

impl Record {
    /// Opens it, with what an earlier process recorded there of the same container.
    pub(super) fn open(
        records: &Records,
        container: &str,
        outlets: &[Outlet; 2],
        report: &Report,
    ) -> (Self, Option<Earlier>) {
        let mut record = Self {
            records: records.clone(),
            container: container.to_owned(),
            report: report.clone(),
            file: None,
            looked: Instant::now(),
            failed: None,
        };
        let earlier = record.opened(outlets).unwrap_or_else(|error| {
            record.has_failed(&error);
            None
        });
        (record, earlier)
    }

    fn opened(&mut self, outlets: &[Outlet; 2]) -> io::Result<Option<Earlier>> {
        let file = self.records.open(&self.container)?;
        let earlier = load(&file, &self.container, outlets);
        self.file = Some(file);
        earlier
    }

    /// Stores a position; returns whether it did. After a failure it does not try for a while.
    pub(super) fn store(&mut self, position: &Position) -> bool {
        if !self.is_due() {
            return false;
        }
        match self.try_store(position) {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!(container = self.container, "the log's position is recorded again");
                }
                true
            }
            Err(error) => {
                self.has_failed(&error);
                false
            }
        }
    }

    fn try_store(&mut self, position: &Position) -> io::Result<()> {
        let mut bytes = [b' '; SIZE];
        let mut rest = &mut bytes[..SIZE - 1];
        serde_json::to_writer(&mut rest, position).map_err(io::Error::other)?;
        bytes[SIZE - 1] = b'\n';
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.file.take_if(|file| !has_name(file));
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.records.open(&self.container)?),
        };
        file.write_all_at(&bytes, 0)
    }

    fn has_failed(&mut self, error: &io::Error) {
        self.file = None;
        if self.failed.replace(Instant::now()).is_none() {
            (self.report)(LogReport::NotRecorded { what: error.to_string() });
        }
    }

    /// Whether storing is tried.
    pub(super) fn is_due(&self) -> bool {
        self.failed.is_none_or(|at| at.elapsed() >= AGAIN)
    }

    /// When storing is to be tried again, after it has failed.
    pub(super) fn again(&self) -> Option<Instant> {
        self.failed.map(|at| at + AGAIN)
    }
}

/// The position stored for this container, with its announced write resolved.
fn load(file: &File, container: &str, outlets: &[Outlet; 2]) -> io::Result<Option<Earlier>> {
    let mut bytes = [0; SIZE];
    let length = file.read_at(&mut bytes, 0)?;
    let Some(mut position) = Position::parse(&bytes[..length], container) else { return Ok(None) };
    let recorded = file.metadata()?.modified()?;
    let mut late = None;
    for outlet in outlets {
        late = late.max(later(outlet.written()?, recorded));
    }
    position.settle(outlets)?;
    Ok(Some(Earlier { position, late }))
}

/// A mark on a pipe is a time long before any record.
fn later(written: Option<SystemTime>, recorded: SystemTime) -> Option<Duration> {
    written?.duration_since(recorded).ok().filter(|late| *late > PROMPT)
}

fn has_name(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}
