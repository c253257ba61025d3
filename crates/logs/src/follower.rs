//! Reads one container's log files to their ends, in order, at the pace of the task's reader.

use std::{io, os::unix::fs::FileExt as _, sync::Arc};

use super::{
    delivery::Delivery,
    json_file::{After, Decoded, decode},
    opener::Watch,
    position::{Place, Source, hash},
    report::LogReport,
    rotation::{HeldFile, LogFiles},
    task::Control,
    wakeup::Wakeups,
};

/// The usual read size.
const PIECE: usize = 64 * 1024;
/// The longest line that is waited for; the engine splits lines so that an object has at most some 100 KiB.
pub(super) const LONGEST: usize = 1024 * 1024;

/// The reader of one container's files.
pub(super) struct Follower {
    pub(super) files: Arc<LogFiles>,
    pub(super) wakeups: Arc<Wakeups>,
    pub(super) delivery: Delivery,
    /// Files are opened as long as this is held.
    pub(super) _watch: Watch,
    /// The first file is read from the position rather than from its start.
    pub(super) resumed: bool,
}

struct Reading {
    file: Arc<HeldFile>,
    /// How far the file was checked.
    seen: u64,
    piece: usize,
    /// Whether everything had been read: the file may have been truncated since.
    waited: bool,
}

#[derive(PartialEq, Eq)]
enum Step {
    Read,
    AtEnd,
}

impl Follower {
    /// Follows until the container has exited and everything is delivered.
    pub(super) async fn run(mut self, control: Control) {
        let ended = self.follow(&control).await;
        if let Err(error) = &ended {
            control.report(LogReport::Failed { what: error.to_string() });
        }
        control.end(ended.is_ok());
    }

    async fn follow(&mut self, control: &Control) -> io::Result<()> {
        let mut reading: Option<Reading> = None;
        let mut buffer = Vec::new();
        let mut decoded = Decoded::default();
        let mut looked_after_exit = false;
        loop {
            self.report_losses(control);
            // Checked before the file is read: a file ends if it has a successor or its container has exited.
            let has_next = self.files.has_next();
            if let Some(reading) = &mut reading {
                let after = if has_next || looked_after_exit { After::Nothing } else { After::More };
                if self.read(reading, after, &mut buffer, &mut decoded, control).await? == Step::Read {
                    tokio::task::consume_budget().await;
                    continue;
                }
            }
            if has_next {
                reading = self.files.next().map(|file| self.begin(file));
                continue;
            }
            self.delivery.settle()?;
            if looked_after_exit {
                return Ok(());
            }
            if control.has_exited() {
                self.files.look(0);
                looked_after_exit = true;
                continue;
            }
            buffer = Vec::new();
            decoded = Decoded::default();
            if let Some(reading) = &mut reading {
                reading.waited = true;
                self.wakeups.arm(&reading.file, &self.files)?;
                if reading.file.len()? != reading.seen {
                    continue;
                }
            }
            tokio::select! {
                () = self.files.news.notified() => {}
                () = control.exited() => {}
                moved = self.delivery.recordable(control), if self.delivery.is_unsettled() => moved?,
            }
        }
    }

    fn begin(&mut self, file: Arc<HeldFile>) -> Reading {
        if std::mem::take(&mut self.resumed) {
            let seen = self.delivery.place().offset;
            return Reading { file, seen, piece: PIECE, waited: true };
        }
        // What is already delivered may extend into this file, after a place that the reader had reached in an earlier one.
        let delivered = self.delivery.place().delivered;
        self.begin_at(file, delivered)
    }

    fn begin_at(&mut self, file: Arc<HeldFile>, delivered: [u64; 2]) -> Reading {
        let source = Source::File { device: file.device, inode: file.inode, first: None };
        self.delivery.move_to(Place { source, offset: 0, delivered });
        Reading { file, seen: 0, piece: PIECE, waited: false }
    }

    /// Reads and delivers a piece.
    async fn read(
        &mut self,
        reading: &mut Reading,
        after: After,
        buffer: &mut Vec<u8>,
        decoded: &mut Decoded,
        control: &Control,
    ) -> io::Result<Step> {
        let offset = self.delivery.place().offset;
        let length = reading.file.len()?;
        if length < offset {
            return self.start_over(reading, control);
        }
        let available = usize::try_from(length - offset).unwrap_or(usize::MAX);
        let wanted = available.min(reading.piece);
        buffer.resize(wanted, 0);
        let got = reading.file.file.read_at(buffer, offset)?;
        reading.seen = offset + got as u64;
        let piece = &buffer[..got];
        let is_rest = got == available;

        decoded.clear();
        let after = if is_rest && after == After::Nothing { After::Nothing } else { After::More };
        let mut used = decode(piece, after, decoded);
        if used == 0 && reading.piece < LONGEST && !is_rest {
            reading.piece *= 2;
            return Ok(Step::Read);
        }
        if used == 0 && got >= LONGEST {
            decoded.cut += 1;
            used = got;
        }
        if used == 0 {
            return Ok(Step::AtEnd);
        }
        reading.piece = PIECE;
        if (std::mem::take(&mut reading.waited) || decoded.cut > 0) && !self.is_same(&reading.file) {
            return self.start_over(reading, control);
        }
        for _ in 0..decoded.cut {
            control.report(LogReport::CutLine);
        }
        self.note_first_line(piece);
        self.deliver(decoded, offset + used as u64, control).await?;
        Ok(Step::Read)
    }

    async fn deliver(&mut self, decoded: &Decoded, next_offset: u64, control: &Control) -> io::Result<()> {
        let done = self.delivery.place().delivered;
        let rest = |stream: usize| {
            let bytes = decoded.bytes[stream].as_slice();
            &bytes[usize::try_from(done[stream]).unwrap_or(usize::MAX).min(bytes.len())..]
        };
        self.delivery.deliver([rest(0), rest(1)], control).await?;
        let mut place = Place { offset: next_offset, ..self.delivery.place().clone() };
        for (delivered, bytes) in place.delivered.iter_mut().zip(&decoded.bytes) {
            *delivered = delivered.saturating_sub(bytes.len() as u64);
        }
        self.delivery.move_to(place);
        Ok(())
    }

    /// Restarts the file after the engine truncated it in place.
    fn start_over(&mut self, reading: &mut Reading, control: &Control) -> io::Result<Step> {
        control.report(LogReport::Truncated);
        *reading = self.begin_at(Arc::clone(&reading.file), [0, 0]);
        Ok(if reading.file.len()? == 0 { Step::AtEnd } else { Step::Read })
    }

    fn note_first_line(&mut self, piece: &[u8]) {
        let mut place = self.delivery.place().clone();
        if let (0, Source::File { first: first @ None, .. }) = (place.offset, &mut place.source) {
            *first = first_line(piece);
            self.delivery.move_to(place);
        }
    }

    fn is_same(&self, file: &HeldFile) -> bool {
        is_at(self.delivery.place(), file)
    }

    fn report_losses(&self, control: &Control) {
        let losses = self.files.take_losses();
        if losses.too_often {
            control.report(LogReport::TooOften);
        }
        if losses.missed > 0 {
            control.report(LogReport::Missed { files: losses.missed });
        }
        if losses.given_up > 0 {
            control.report(LogReport::GivenUp { files: losses.given_up, bytes: losses.given_up_bytes });
        }
    }
}

/// Whether the place is in this file, and the file still has what was read of it.
pub(super) fn is_at(place: &Place, file: &HeldFile) -> bool {
    let Source::File { device, inode, first } = place.source else { return false };
    if (device, inode) != (file.device, file.inode) {
        return false;
    }
    let Some((length, expected)) = first else { return true };
    let mut line = vec![0; usize::try_from(length).unwrap_or(LONGEST).min(LONGEST)];
    file.file.read_exact_at(&mut line, 0).is_ok() && hash(&line) == expected
}

/// Length and hash of the first line, which identify a file: its timestamp has nanosecond precision.
pub(super) fn first_line(piece: &[u8]) -> Option<(u64, u64)> {
    let length = memchr::memchr(b'\n', piece)? + 1;
    Some((length as u64, hash(&piece[..length])))
}
