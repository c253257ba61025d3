//! What the log collection of all tasks shares, and where each begins.

use std::{io, path::Path, sync::Arc};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    delivery::{Ends, Held},
    engine_stream::{self, FrameStream, Since},
    follower::{Follower, is_at},
    handover::{self, Arrived},
    holder::{Holder, HolderWork},
    opener::Opener,
    position::{Place, Position, Source},
    record::Earlier,
    records::Records,
    report::{LogReport, Report},
    rotation::{Bound, LogFiles},
    sink::LogSink,
    task::LogTask,
    wakeup::Wakeups,
};

/// The process's only log collector: a thread that opens log files as they are rotated in, a task that wakes followers, and the
/// connection to the node's log holder.
pub struct Collector {
    opener: Opener,
    wakeups: Arc<Wakeups>,
    bound: Bound,
    holder: Holder,
    records: Records,
    _holder: HolderWork,
}

/// Whether a container is new, or who collected its log before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// It is new: created, but not started.
    New,
    /// Another process of this driver collected its log, and left its position.
    Adopted,
    /// Another program collected its log, recorded no position, and has ended. This much of the log arrived.
    HandedOver(Arrived),
}

impl Collector {
    /// Starts the thread. Must be called inside the runtime, once per process. With the first task, the log holder is found or
    /// started in the driver's state directory.
    pub fn start(state_dir: &Path) -> io::Result<Self> {
        raise_descriptor_limit();
        let (holder, work) = Holder::start(state_dir);
        let (opener, wakeups) = (Opener::start()?, Arc::new(Wakeups::start()?));
        Ok(Self { opener, wakeups, bound: Bound::default(), holder, records: Records::new(state_dir), _holder: work })
    }

    /// Sets another bound on what is held for an absent reader.
    #[must_use]
    pub fn with_bound(mut self, bound: Bound) -> Self {
        self.bound = bound;
        self
    }

    /// Opens the pipes of a new container.
    pub async fn open_new(&self, sink: &LogSink, container_id: &str) -> io::Result<Ends> {
        Ends::open(sink, container_id, Held::Not, &self.holder).await
    }

    /// Opens the pipes of a container that another process collected from. Must be called before any other process that writes
    /// to them is ended.
    pub async fn open(&self, sink: &LogSink, container_id: &str) -> io::Result<Ends> {
        Ends::open(sink, container_id, Held::Maybe, &self.holder).await
    }

    /// Collects a container's log from the engine's files in `directory` (`<DockerRootDir>/containers/<id>`, which exists once
    /// the container is created). For a new container, it must be called before the start: a fast writer rotates its first file
    /// away within 35 ms. If the files cannot be read here, use [`follow_engine`](Self::follow_engine).
    pub async fn follow(
        &self,
        directory: &Path,
        ends: Ends,
        sink: &LogSink,
        report: impl Fn(LogReport) + Send + Sync + 'static,
        begin: StartFrom,
    ) -> io::Result<LogTask> {
        let report: Report = Arc::new(report);
        let container_id = ends.container.clone();
        let files = Arc::new(LogFiles::new(&container_id, directory.to_owned(), self.bound));
        let watch = self.opener.watch(directory, Arc::clone(&files)).map_err(|error| {
            io::Error::new(error.kind(), format!("failed to watch `{}`: {error}", directory.display()))
        })?;
        let mut opened = ends.at(&self.records, &report);

        let start = Position::new(&container_id, Source::File { device: 0, inode: 0, first: None });
        let (position, resumed) = match (opened.earlier.take(), begin) {
            // A position is older than what the other program collected.
            (_, StartFrom::HandedOver(arrived)) => begin_behind(&arrived, start, &files, &report),
            (Some(Earlier { position: earlier, late: None }), _) => {
                let arrived =
                    if opened.has_unread || earlier.read.is_none() { None } else { Some(Arrived::at(sink).await) };
                resume_at(&earlier, arrived.as_ref(), &files, &report).map_or((start, false), |found| (found, true))
            }
            (Some(Earlier { position: earlier, late: Some(by) }), _) => {
                let earlier = Position { read: None, ..earlier };
                begin_where_it_ends(&earlier, &files, &Arrived::at(sink).await)
                    .or_else(|| {
                        report(LogReport::RecordLate { by });
                        resume_at(&earlier, None, &files, &report)
                    })
                    .map_or((start, false), |found| (found, true))
            }
            (None, StartFrom::Adopted) => begin_behind(&Arrived::at(sink).await, start, &files, &report),
            (None, StartFrom::New) => {
                files.look(0);
                (start, false)
            }
        };
        let mut delivery = opened.deliver_from(position);
        // A successor must see that this process began, even if it never wrote.
        delivery.settle()?;
        let wakeups = Arc::clone(&self.wakeups);
        let follower = |control| Follower { files, wakeups, delivery, _watch: watch, resumed }.run(control);
        Ok(LogTask::spawn(report, self.released(container_id), follower))
    }

    /// Collects a container's log from the streams that `open` opens. `open` receives the time (nanoseconds since 1970) from
    /// which frames are wanted, or `None` for all. Frames of exactly that time may be repeated.
    pub async fn follow_engine(
        &self,
        since: Since,
        open: impl Fn(Option<u64>) -> FrameStream + Send + Sync + 'static,
        ends: Ends,
        sink: &LogSink,
        report: impl Fn(LogReport) + Send + Sync + 'static,
    ) -> io::Result<LogTask> {
        let report: Report = Arc::new(report);
        let container_id = ends.container.clone();
        let opened = ends.at(&self.records, &report);
        let follower = engine_stream::follow(since, open, (&container_id, sink), opened, &report).await?;
        Ok(LogTask::spawn(report, self.released(container_id), follower))
    }

    /// Releases a container's pipes and forgets its log position: nothing more will come.
    pub async fn release(&self, container_id: &str) {
        self.holder.release(container_id).await;
        self.records.remove(container_id);
    }

    /// Where the positions are stored.
    pub fn records(&self) -> &Records {
        &self.records
    }

    fn released(&self, container_id: String) -> impl Future<Output = ()> + Send + use<> {
        let holder = self.holder.clone();
        async move { holder.release(&container_id).await }
    }
}

/// The earlier position, if its file still exists. The files from that one on are queued, or else all of them. `arrived` is the
/// content of the reader's own files, used if the pipe does not show how much was read.
fn resume_at(earlier: &Position, arrived: Option<&Arrived>, files: &LogFiles, report: &Report) -> Option<Position> {
    let there = files.adopt();
    let file_of = |place: &Place| there.iter().position(|file| is_at(place, file));
    // Nothing was read yet: the oldest existing file has it all.
    let untouched = matches!(earlier.place.source, Source::File { inode: 0, .. });
    let mut resumed = file_of(&earlier.place).map(|file| (file, earlier.clone()));
    if resumed.is_none() && !untouched {
        report(LogReport::PositionLost);
    }
    if let (Some(_), Some(arrived), Some(read)) = (&resumed, arrived, &earlier.read)
        && let Some(begin) = file_of(&read.place)
    {
        let between = handover::place_between(arrived, &there, &read.place, &earlier.place);
        let (file, place) = searched(between).unwrap_or_else(|| {
            report(LogReport::ReadUnknown { bytes: read.unread.iter().sum() });
            (begin, read.place.clone())
        });
        resumed = Some((file, Position { place, read: None, ..earlier.clone() }));
    }
    let left_out = resumed.as_ref().map_or(0, |(file, _)| *file);
    files.begin_with(there.into_iter().skip(left_out));
    resumed.map(|(_, position)| position)
}

/// The position after the arrived output, if it is in these files.
fn begin_where_it_ends(start: &Position, files: &LogFiles, arrived: &Arrived) -> Option<Position> {
    let there = files.adopt();
    let found = searched(handover::place_of(arrived, &there));
    files.begin_with(there.into_iter().skip(found.as_ref().map_or(0, |(file, _)| *file)));
    found.map(|(_, place)| Position { place, ..start.clone() })
}

fn searched(found: io::Result<Option<(usize, Place)>>) -> Option<(usize, Place)> {
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to search the log files");
        None
    })
}

/// The position after the arrived output, or else the end of the newest file.
fn begin_behind(arrived: &Arrived, start: Position, files: &LogFiles, report: &Report) -> (Position, bool) {
    match begin_where_it_ends(&start, files, arrived) {
        Some(found) => (found, true),
        None => begin_at_end(start, files, report),
    }
}

/// The end of the newest file, for lack of a position.
fn begin_at_end(mut start: Position, files: &LogFiles, report: &Report) -> (Position, bool) {
    report(LogReport::PositionUnknown);
    let there = files.adopt();
    let newest = there.last().cloned();
    if let Some(newest) = &newest {
        start.place.source = Source::File { device: newest.device, inode: newest.inode, first: None };
        start.place.offset = newest.len().unwrap_or(0);
    }
    let resumed = newest.is_some();
    files.begin_with(newest);
    (start, resumed)
}

/// Each task holds a few descriptors and, while its reader is away, its unread files. The usual soft limit of 1024 exists for
/// programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(refused) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(error = %refused, "failed to raise the limit on open files");
    }
}
