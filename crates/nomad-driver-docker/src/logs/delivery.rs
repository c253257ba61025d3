//! Writes what was read to the host's pipes, and notes how far it got.

use std::{io, path::Path};

use beneath::Beneath;

use super::{
    position::{Announced, Position, PositionFile, To},
    sink::{LogSink, Outlet, Stream},
    task::Control,
};

/// The two outlets of a task, and the position of what went through them.
pub(super) struct Delivery {
    outlets: [Outlet; 2],
    file: PositionFile,
    position: Position,
    /// Whether marks work on each outlet; known after the first write.
    marks: [Marks; 2],
    /// Whether the file says what `position` says.
    stored: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    Untried,
    Work,
    Refused,
}

/// What was found when a delivery was opened.
pub(super) struct Opened {
    pub(super) outlets: [Outlet; 2],
    pub(super) file: PositionFile,
    /// The position of an earlier process, if it is of the same container.
    pub(super) earlier: Option<Position>,
}

impl Opened {
    pub(super) fn open(sink: &LogSink, position_file: &Path, container: &str) -> io::Result<Self> {
        let failed = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("failed to open `{}`: {error}", path.display()))
        };
        let alloc_dir = Beneath::open(&sink.alloc_dir).map_err(|error| failed(&sink.alloc_dir, error))?;
        let open = |path: &Path| Outlet::open(&alloc_dir, path).map_err(|error| failed(path, error));
        let outlets = [open(&sink.stdout)?, open(&sink.stderr)?];
        let file = PositionFile::open(&alloc_dir, position_file).map_err(|error| failed(position_file, error))?;
        let earlier = file.load(container, &outlets)?;
        Ok(Self { outlets, file, earlier })
    }

    pub(super) fn deliver_from(self, position: Position) -> Delivery {
        Delivery { outlets: self.outlets, file: self.file, position, marks: [Marks::Untried; 2], stored: false }
    }
}

impl Delivery {
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Moves the position without a write.
    pub(super) fn position_mut(&mut self) -> &mut Position {
        self.stored = false;
        &mut self.position
    }

    /// Writes all of both streams' bytes, each as its reader makes room. Stopped at any point, nothing is lost or repeated.
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
                let [stdout, stderr] = &self.outlets;
                tokio::select! {
                    room = stdout.room(), if !rest[0].is_empty() => room?,
                    room = stderr.room(), if !rest[1].is_empty() => room?,
                }
            }
        }
        Ok(())
    }

    /// Notes the position, so that it stands without a look at the pipes.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if !self.stored {
            self.position.next = None;
            self.file.store(&self.position)?;
            self.stored = true;
        }
        Ok(())
    }

    /// One piece; `None` when the reader has to make room first.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<Option<usize>> {
        let index = stream.index();
        let piece = self.outlets[index].piece(bytes.len());
        let announced = self.announce(stream, piece)?;
        let written = self.outlets[index].write(&bytes[..piece])?;
        self.stored = false;
        let Some(written) = written else {
            // The mark must not be replaced while the note still stands.
            if announced.is_some() {
                self.settle()?;
            }
            return Ok(None);
        };
        self.position.delivered[index] += written as u64;
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
        self.file.store(&self.position)?;
        self.position.next = None;
        Ok(Some(to))
    }
}
