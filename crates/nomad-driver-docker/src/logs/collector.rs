//! What all tasks' log collection shares, and where each begins.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    delivery::Opened,
    follower::{Follower, is_at},
    handover::{self, Arrived},
    opener::Opener,
    position::{Position, Source},
    report::{LogReport, Report},
    rotation::{Bound, LogFiles},
    sink::LogSink,
    task::LogTask,
    wakeup::Wakeups,
};

/// The process's one log collector: a thread that opens log files as they are rotated in, and a task that wakes followers.
pub struct Collector {
    opener: Opener,
    wakeups: Arc<Wakeups>,
    bound: Bound,
}

/// A container whose log the engine keeps in json files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// The full id.
    pub container_id: String,
    /// `<DockerRootDir>/containers/<id>`. It is there from the container's creation on.
    pub directory: PathBuf,
}

impl Collector {
    /// Starts the thread. To be called inside the runtime, once a process.
    pub fn start() -> io::Result<Self> {
        raise_descriptor_limit();
        Ok(Self { opener: Opener::start()?, wakeups: Arc::new(Wakeups::start()?), bound: Bound::default() })
    }

    /// With another bound on what is held for a reader that stays away.
    #[must_use]
    pub fn with_bound(mut self, bound: Bound) -> Self {
        self.bound = bound;
        self
    }

    /// Collects a new container's log. To be called between its creation and its start: a fast writer rotates its first
    /// file away within 35 ms. An error of kind `NotFound` or `PermissionDenied` that names the source's directory says that
    /// the files can't be read here: [`follow_engine`](super::follow_engine) is what is left.
    pub fn watch(
        &self,
        source: LogSource,
        sink: &LogSink,
        position_file: &Path,
        report: impl Fn(LogReport) + Send + Sync + 'static,
    ) -> io::Result<LogTask> {
        self.follow(source, sink, position_file, Arc::new(report), Begin::New)
    }

    /// Goes on with the log of a container that another process collected from, at the position that it left.
    pub fn resume(
        &self,
        source: LogSource,
        sink: &LogSink,
        position_file: &Path,
        report: impl Fn(LogReport) + Send + Sync + 'static,
    ) -> io::Result<LogTask> {
        self.follow(source, sink, position_file, Arc::new(report), Begin::TakenOver)
    }

    /// Goes on with the log of a container that another program collected from, which kept no position: where what arrived
    /// of it ends. That program must have ended.
    pub fn hand_over(
        &self,
        source: LogSource,
        sink: &LogSink,
        position_file: &Path,
        arrived: Arrived,
        report: impl Fn(LogReport) + Send + Sync + 'static,
    ) -> io::Result<LogTask> {
        self.follow(source, sink, position_file, Arc::new(report), Begin::HandedOver(arrived))
    }

    fn follow(
        &self,
        source: LogSource,
        sink: &LogSink,
        position_file: &Path,
        report: Report,
        begin: Begin,
    ) -> io::Result<LogTask> {
        let LogSource { container_id, directory } = source;
        let files = Arc::new(LogFiles::new(&container_id, directory.clone(), self.bound));
        let watch = self.opener.watch(&directory, Arc::clone(&files)).map_err(|error| {
            io::Error::new(error.kind(), format!("failed to watch `{}`: {error}", directory.display()))
        })?;
        let opened = Opened::open(sink, position_file, &container_id)?;

        let start = Position::new(&container_id, Source::File { device: 0, inode: 0, first: None });
        let (position, resumed) = match (&opened.earlier, begin) {
            // A position is older than what the other program collected.
            (_, Begin::HandedOver(arrived)) => match begin_where_it_ends(&start, &files, &arrived) {
                Some(found) => (found, true),
                None => begin_at_end(start, &files, &report),
            },
            (Some(earlier), _) => resume_at(earlier, &files, &report).map_or((start, false), |found| (found, true)),
            (None, Begin::TakenOver) => begin_at_end(start, &files, &report),
            (None, Begin::New) => {
                files.look(0);
                (start, false)
            }
        };
        let mut delivery = opened.deliver_from(position);
        // A successor must find that this process began, even if it never wrote.
        delivery.settle()?;
        let wakeups = Arc::clone(&self.wakeups);
        Ok(LogTask::spawn(report, |control| Follower { files, wakeups, delivery, _watch: watch, resumed }.run(control)))
    }
}

enum Begin {
    New,
    TakenOver,
    HandedOver(Arrived),
}

/// The earlier position, if its file is still there; the files from that one on are queued, else all.
fn resume_at(earlier: &Position, files: &LogFiles, report: &Report) -> Option<Position> {
    // Nothing was read yet: the first file there is has it all.
    let untouched = matches!(earlier.source, Source::File { inode: 0, .. });
    let mut resumed = None;
    files.take_over(|there| {
        let place = there.iter().position(|file| is_at(earlier, file));
        if place.is_some() {
            resumed = Some(earlier.clone());
        } else if !untouched {
            report(LogReport::PositionGone);
        }
        place.unwrap_or(0)
    });
    resumed
}

/// The place behind what arrived, if it is in these files.
fn begin_where_it_ends(start: &Position, files: &LogFiles, arrived: &Arrived) -> Option<Position> {
    let mut found = None;
    files.take_over(|there| {
        let place = handover::place_of(arrived, there).unwrap_or_else(|error| {
            tracing::warn!(%error, "the log files cannot be searched");
            None
        });
        place.map_or(0, |place| {
            found = Some(Position {
                source: place.source,
                offset: place.offset,
                delivered: place.delivered,
                ..start.clone()
            });
            place.file
        })
    });
    found
}

/// The end of the newest file, for want of a position.
fn begin_at_end(mut start: Position, files: &LogFiles, report: &Report) -> (Position, bool) {
    report(LogReport::PositionUnknown);
    let mut resumed = false;
    files.take_over(|there| {
        if let Some(newest) = there.last() {
            start.source = Source::File { device: newest.device, inode: newest.inode, first: None };
            start.offset = newest.len().unwrap_or(0);
            resumed = true;
        }
        there.len().saturating_sub(1)
    });
    (start, resumed)
}

/// Each task holds a few descriptors and, while its reader is away, its unread files: the soft limit of 1024 that most
/// processes start with is for programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(refused) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%refused, "the limit on open files stays as it is");
    }
}
