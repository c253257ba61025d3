//! Writes to the host's pipes, and records its progress.

use std::{io, time::Duration};

use background::Backoff;
use tokio::time::{Instant, sleep_until};

use super::{
    holder::Holder,
    position::{Announced, Place, Position, To, Unread},
    record::{Earlier, Record},
    records::Records,
    report::{LogReport, Report},
    sink::{LogSink, Outlet, Stream},
    task::{Awaited, Control},
    trail::Trail,
};

/// The two outlets of a task, and the position of what was written to them.
pub(super) struct Delivery {
    outlets: [Outlet; 2],
    record: Record,
    position: Position,
    trail: Trail,
    reader: Reader,
    /// Whether marks work on each outlet; known after the first write.
    marks: [Marks; 2],
    /// Whether the record matches `position`.
    stored: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    Untried,
    Work,
    Refused,
}

/// The open ends of a container's pipes. The log holder holds them, too, while this or another driver is to write to them. So
/// their reader sees no end of file, whatever else had them open.
pub struct Ends {
    pub(super) container: String,
    outlets: [Outlet; 2],
    /// Whether the unread output of an earlier process is still there.
    pub(super) has_unread: bool,
}

/// Whether the pipes may already be held, for an earlier process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Maybe,
    /// No: the container is new.
    Not,
}

impl Ends {
    /// Opens the pipes that the host created, whatever was put in their place.
    pub(super) async fn open(sink: &LogSink, container: &str, held: Held, holder: &Holder) -> io::Result<Self> {
        let mut has_unread = true;
        let mut outlets = Vec::new();
        for (stream, path) in Stream::BOTH.into_iter().zip([&sink.stdout, &sink.stderr]) {
            let pipe = if held == Held::Maybe { holder.take(container, stream).await } else { None };
            let was_held = pipe.is_some();
            let outlet = match pipe {
                Some(pipe) => Outlet::of_pipe(&pipe),
                None => Outlet::open(&sink.alloc_dir, path).await,
            };
            let failed = |error: io::Error| {
                io::Error::new(error.kind(), format!("failed to open `{}`: {error}", path.display()))
            };
            let outlet = outlet.map_err(failed)?;
            has_unread &= was_held || !matches!(outlet, Outlet::Pipe(_));
            if let Some(end) = outlet.writing_end().map_err(failed)? {
                holder.hold(container, stream, end).await;
            }
            outlets.push(outlet);
        }
        let outlets = <[Outlet; 2]>::try_from(outlets).map_err(|_| io::ErrorKind::Other)?;
        Ok(Self { container: container.to_owned(), outlets, has_unread })
    }

    /// Adds the record of the position. If none can be stored, the whole log is still collected.
    pub(super) fn at(self, records: &Records, report: &Report) -> Opened {
        let (record, earlier) = Record::open(records, &self.container, &self.outlets, report);
        Opened { outlets: self.outlets, record, earlier, has_unread: self.has_unread }
    }
}

/// A container's ends, and where collection stands.
pub(super) struct Opened {
    outlets: [Outlet; 2],
    record: Record,
    /// The position of an earlier process, if it is of the same container.
    pub(super) earlier: Option<Earlier>,
    pub(super) has_unread: bool,
}

impl Opened {
    pub(super) fn deliver_from(self, position: Position) -> Delivery {
        let (trail, reader) = (Trail::new(&position), Reader::default());
        let marks = [Marks::Untried; 2];
        Delivery { outlets: self.outlets, record: self.record, position, trail, reader, marks, stored: false }
    }
}

impl Delivery {
    /// The place up to which everything was written.
    pub(super) fn place(&self) -> &Place {
        &self.position.place
    }

    /// Moves the place without a write.
    pub(super) fn move_to(&mut self, place: Place) {
        self.stored = false;
        self.trail.reached(&place);
        self.position.place = place;
    }

    /// Whether the position is to be recorded once more: the pipes had content, or it could not be stored.
    pub(super) fn is_unsettled(&self) -> bool {
        self.position.read.is_some() || self.record.again().is_some()
    }

    /// Waits until the position may be recorded once more: the reader has read some of what is in the pipes, or storing is to
    /// be tried again. A long stall is reported.
    pub(super) async fn recordable(&mut self, control: &Control) -> io::Result<()> {
        let (has_unread, again) = (self.position.read.is_some(), self.record.again());
        tokio::select! {
            moved = self.reader.moves(&self.outlets, self.trail.written(), control), if has_unread => moved,
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => Ok(()),
            else => Ok(()),
        }
    }

    /// Writes all bytes of both streams, as their readers make room. If cancelled at any point, nothing is lost or repeated.
    pub(super) async fn deliver(&mut self, bytes: [&[u8]; 2], control: &Control) -> io::Result<()> {
        let mut rest = bytes;
        while rest.iter().any(|rest| !rest.is_empty()) {
            let mut blocked = 0;
            for stream in Stream::BOTH {
                let rest = &mut rest[stream.index()];
                while !rest.is_empty() {
                    let Some(written) = self.write(stream, rest)? else {
                        blocked += 1;
                        break;
                    };
                    *rest = &rest[written..];
                    control.delivered(written);
                }
            }
            if blocked > 0 {
                control.awaits(Awaited::Reader);
                let [stdout, stderr] = &self.outlets;
                tokio::select! {
                    room = stdout.room(), if !rest[0].is_empty() => room?,
                    room = stderr.room(), if !rest[1].is_empty() => room?,
                    moved = self.reader.moves(&self.outlets, self.trail.written(), control) => {
                        moved?;
                        control.moved();
                    }
                }
                control.awaits(Awaited::Engine);
            }
        }
        Ok(())
    }

    /// Records the position in a form that is valid without a check of the pipes.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        let read = self.read()?;
        if !self.stored || read != self.position.read {
            self.position.next = None;
            self.stored = self.store(read);
        }
        Ok(())
    }

    /// How far the reader has come, if that is not where everything was written.
    fn read(&mut self) -> io::Result<Option<Unread>> {
        let read = self.trail.read_out(unread(&self.outlets)?);
        Ok((read.unread != [0, 0]).then_some(read))
    }

    fn store(&mut self, read: Option<Unread>) -> bool {
        self.position.read = read;
        self.record.store(&self.position)
    }

    /// Writes one piece; `None` if the reader has to make room first.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<Option<usize>> {
        let index = stream.index();
        let piece = self.outlets[index].piece(bytes.len());
        let announced = self.announce(stream, piece)?;
        let written = self.outlets[index].write(&bytes[..piece])?;
        self.stored = false;
        let Some(written) = written else {
            // The mark must not be replaced while the note is still in effect.
            if announced.is_some() {
                self.settle()?;
            }
            return Ok(None);
        };
        self.position.place.delivered[index] += written as u64;
        self.trail.wrote(index, written as u64);
        if let (Some(To::Marked(mark)), Marks::Untried) = (announced, self.marks[index]) {
            let wiped_off = !self.outlets[index].has_mark(mark)?;
            self.marks[index] = if wiped_off { Marks::Work } else { Marks::Refused };
        }
        if announced.is_none() || self.marks[index] == Marks::Refused {
            self.settle()?;
        }
        Ok(Some(written))
    }

    fn announce(&mut self, stream: Stream, bytes: usize) -> io::Result<Option<To>> {
        if !self.record.is_due() {
            // The time of the write shows a successor that the record is late.
            return Ok(None);
        }
        let index = stream.index();
        let to = match &self.outlets[index] {
            Outlet::Nowhere => return Ok(None),
            outlet @ Outlet::File(_) => To::Sized(outlet.size()?),
            outlet @ Outlet::Pipe(_) => {
                if self.marks[index] == Marks::Refused {
                    return Ok(None);
                }
                let mark = self.position.mark + 1;
                if outlet.mark(mark).is_err() {
                    self.marks[index] = Marks::Refused;
                    return Ok(None);
                }
                self.position.mark = mark;
                To::Marked(mark)
            }
        };
        self.position.next = Some(Announced::new(stream, bytes, to));
        let read = self.read()?;
        let stored = self.store(read);
        self.position.next = None;
        Ok(stored.then_some(to))
    }
}

/// How long nothing is read before that is reported to the task's owner.
const STALLED: Duration = Duration::from_secs(10);
/// The first and the longest pause between two checks of the pipes' content.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What is known of the reader of the two pipes.
#[derive(Default)]
struct Reader {
    pipes: [Option<ReaderSeen>; 2],
}

/// A pipe that is not empty.
#[derive(Clone, Copy)]
struct ReaderSeen {
    /// How much of it was read in total.
    read: i64,
    since: Instant,
    reported: bool,
}

impl Reader {
    /// Waits until something was read, out of the `written` bytes.
    async fn moves(&mut self, outlets: &[Outlet; 2], written: [i64; 2], control: &Control) -> io::Result<()> {
        let mut backoff = Backoff::new(LOOK.0, LOOK.1);
        loop {
            let unread = unread(outlets)?;
            let mut waits = false;
            for (stream, pipe) in self.pipes.iter_mut().enumerate() {
                let read = written[stream] - unread[stream].cast_signed();
                let moved = pipe.is_some_and(|seen| seen.read != read);
                if unread[stream] == 0 || moved {
                    *pipe = None;
                }
                if moved {
                    return Ok(());
                }
                if unread[stream] == 0 {
                    continue;
                }
                waits = true;
                let seen = pipe.get_or_insert_with(|| ReaderSeen { read, since: Instant::now(), reported: false });
                if seen.since.elapsed() >= STALLED && !std::mem::replace(&mut seen.reported, true) {
                    control.report(LogReport::NobodyReads { waited: seen.since.elapsed(), bytes: unread[stream] });
                }
            }
            if !waits {
                return Ok(());
            }
            backoff.wait().await;
        }
    }
}

fn unread([stdout, stderr]: &[Outlet; 2]) -> io::Result<[u64; 2]> {
    Ok([stdout.unread()?, stderr.unread()?])
}
