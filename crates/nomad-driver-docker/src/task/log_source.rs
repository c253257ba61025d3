//! The source of a task's log: the engine's json files on this host, or else the engine's logs API.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use futures_util::StreamExt;
use nomad_plugin::{
    driver::{DriverError, TaskConfig},
    id::AllocId,
};

use super::{Tasks, builtin_docklog, state::Logger};
use crate::{
    alloc_paths::task_dir,
    events::{EventSubject, TaskEvents},
    labels::ALLOC_ID,
    network,
    process::Process,
    session::Session,
    settings::Settings,
};
use background::apart;
use engine::{Engine, EngineError, EngineFacts, LogFrame};
use logs::{
    Arrived, Collector, Ends, Frame, FrameError, FrameStream, LogReport, LogSink, LogTask, Records, Since, StartFrom,
    Stream,
};

/// How long an agent with many tasks may take to hand all of them over.
const HANDED_OVER: Duration = Duration::from_secs(300);
/// The minimum age of a record before its owner is looked up: a container is created before its record.
const LEFT: Duration = Duration::from_secs(300);
/// How many records are checked per round.
const SWEPT: usize = 100;
/// The time limit for checking an earlier record.
const PATIENCE: Duration = Duration::from_secs(5);

/// A container whose log is to be collected.
pub(super) struct Subject<'a> {
    pub(super) task: &'a TaskConfig,
    pub(super) container: &'a str,
    /// The logging driver; empty is the engine's default.
    pub(super) driver: &'a str,
}

/// The source of a container's log, and its receiver.
pub(super) struct LogSource<'a> {
    events: &'a TaskEvents,
    subject: Subject<'a>,
    /// `None` if nobody wants the log.
    ends: Option<(&'a Collector, Ends)>,
    start: StartFrom,
}

impl Tasks {
    /// Removes the allocation's view of its logs, if it has no tasks any more.
    pub(crate) async fn hide_logs(&self, session: &Session, task: &TaskConfig) {
        // A task that is not recovered yet is known only by its container.
        let is_recent = self.store.since_recovery().is_some_and(|since| since < HANDED_OVER);
        // The engine is asked first: a task may start meanwhile.
        if (is_recent && has_running(&session.engine, &task.alloc_id).await) || self.store.has_tasks_of(&task.alloc_id)
        {
            return;
        }
        self.process.logs.hide(Path::new(&task.alloc_dir)).await;
    }

    /// Removes what a driver that died left of finished tasks.
    pub(crate) async fn sweep_logs(&self, session: &Session) {
        self.process.logs.remove_left_views(self.process.node.known().allocs).await;
        let records = Records::new(self.settings.now().state_dir());
        let known = self.store.containers();
        let left = records.older_than(LEFT).into_iter().filter(|container| !known.contains(container));
        for container in left.take(SWEPT) {
            if session.engine.inspect_container(&container).await.is_err_and(|error| error.is_not_found()) {
                records.remove(&container);
            }
        }
    }
}

/// Whether an allocation has a running container other than its pause container, as far as is known.
async fn has_running(engine: &Engine, alloc: &AllocId) -> bool {
    let found = engine.containers_with_label(&format!("{ALLOC_ID}={alloc}")).await;
    found.map_or(true, |found| found.iter().any(|found| found.is_running() && !network::is_pause(found)))
}

fn sink(task: &TaskConfig) -> LogSink {
    LogSink {
        alloc_dir: PathBuf::from(&task.alloc_dir),
        stdout: PathBuf::from(&task.stdout_path),
        stderr: PathBuf::from(&task.stderr_path),
    }
}

/// Where earlier versions stored the position.
fn former_record(task: &TaskConfig) -> PathBuf {
    task_dir(task).join(".docker-log-position.json")
}

fn failed(error: impl std::fmt::Display) -> DriverError {
    DriverError::new(format!("failed to collect the task's log: {error}"))
}

/// The collector, if somebody wants the log.
fn wanted<'a>(
    process: &'a Process,
    settings: &Settings,
    task: &TaskConfig,
) -> Result<Option<&'a Collector>, DriverError> {
    let nowhere = |path: &str| path == "/dev/null";
    let nobody = nowhere(&task.stdout_path) && nowhere(&task.stderr_path);
    if settings.plugin.disable_log_collection || nobody {
        return Ok(None);
    }
    process.logs.collector(settings.state_dir()).map(Some).map_err(failed)
}

impl<'a> LogSource<'a> {
    /// For a new container, which must not have been started yet.
    pub(super) async fn new(
        process: &'a Process,
        settings: &Settings,
        subject: Subject<'a>,
    ) -> Result<Self, DriverError> {
        process.logs.show(Path::new(&subject.task.alloc_dir)).await;
        let ends = match wanted(process, settings, subject.task)? {
            Some(collector) => {
                Some((collector, collector.open_new(&sink(subject.task), subject.container).await.map_err(failed)?))
            }
            None => None,
        };
        Ok(Self { events: &process.events, subject, ends, start: StartFrom::New })
    }

    /// For a container that is already running. The built-in driver's loggers are ended once the pipes are held, so that the
    /// pipes' reader does not see end of file. `named` is the logger in the task's state. If the log cannot be collected, that
    /// is reported, and the task is adopted without it.
    pub(super) async fn adopted(
        process: &'a Process,
        settings: &Settings,
        subject: Subject<'a>,
        named: Option<&Logger>,
    ) -> Self {
        let (task, container) = (subject.task, subject.container);
        let sink = sink(task);
        process.logs.show(&sink.alloc_dir).await;
        let ends = match adopted_ends(process, settings, &subject, &sink).await {
            Ok(ends) => ends,
            Err(error) => {
                not_collected(&process.events, task, &error);
                None
            }
        };
        let ended = builtin_docklog::end_all(named, &sink.alloc_dir, &sink.stdout).await;
        // Nomad's record names the logger for the whole life of the task: it means nothing once this driver has collected.
        let has_record = || ends.as_ref().is_some_and(|(collector, _)| collector.records().has(container));
        let start = if ended || (named.is_some() && !has_record()) {
            StartFrom::HandedOver(Arrived::at(&sink).await)
        } else {
            StartFrom::Adopted
        };
        Self { events: &process.events, subject, ends, start }
    }

    /// Starts to collect.
    pub(super) async fn collect(self, engine: &Engine, facts: &EngineFacts) -> Result<Option<LogTask>, DriverError> {
        let (events, task, is_new) = (self.events, self.subject.task, self.start == StartFrom::New);
        match self.collected(engine, facts).await {
            Err(error) if !is_new => {
                not_collected(events, task, &error);
                Ok(None)
            }
            collected => collected.map_err(failed),
        }
    }

    async fn collected(self, engine: &Engine, facts: &EngineFacts) -> io::Result<Option<LogTask>> {
        let Self { events, subject: Subject { task, container, driver }, ends, start } = self;
        let Some((collector, mut ends)) = ends else { return Ok(None) };
        let sink = sink(task);
        let report = reports(events, task);
        let driver = if driver.is_empty() { facts.logging_driver.as_str() } else { driver };
        let directory = facts.root_dir.join("containers").join(container);
        if driver == "json-file" && engine.is_local() {
            match collector.follow(&directory, ends, &sink, report.clone(), start.clone()).await {
                Ok(collected) => return Ok(Some(collected)),
                // An engine in another mount namespace, or files that this user may not read.
                Err(_) if !readable(&directory) => {}
                Err(error) => return Err(error),
            }
            ends = collector.open(&sink, container).await?;
        }
        let (engine, id) = (engine.clone(), container.to_owned());
        let open = move |since: Option<u64>| frames(&engine, &id, since);
        let since = match start {
            StartFrom::New => Since::Beginning,
            StartFrom::Adopted => Since::Position,
            StartFrom::HandedOver(_) => Since::Now,
        };
        collector.follow_engine(since, open, ends, &sink, report).await.map(Some)
    }
}

/// The ends of a container's pipes, after an earlier version's record was moved to the current place.
async fn adopted_ends<'a>(
    process: &'a Process,
    settings: &Settings,
    subject: &Subject<'_>,
    sink: &LogSink,
) -> Result<Option<(&'a Collector, Ends)>, DriverError> {
    let (task, container) = (subject.task, subject.container);
    let Some(collector) = wanted(process, settings, task)? else { return Ok(None) };
    let (records, id) = (collector.records().clone(), container.to_owned());
    let (alloc_dir, former) = (sink.alloc_dir.clone(), former_record(task));
    if let Err(error) = apart(PATIENCE, move || records.adopt(&id, &alloc_dir, &former)).await {
        tracing::warn!(container, %error, "an earlier version's log position is ignored");
    }
    collector.open(sink, container).await.map(|ends| Some((collector, ends))).map_err(failed)
}

fn reports(events: &TaskEvents, task: &TaskConfig) -> impl Fn(LogReport) + Clone + Send + Sync + use<> {
    let (events, owner) = (events.clone(), EventSubject::from(task));
    move |report: LogReport| {
        tracing::warn!(task = owner.task_id.as_str(), "{report}");
        events.emit(&owner, report.to_string(), BTreeMap::new());
    }
}

fn not_collected(events: &TaskEvents, task: &TaskConfig, error: &impl ToString) {
    reports(events, task)(LogReport::Failed { what: error.to_string() });
}

fn readable(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied),
    }
}

/// The engine's log stream from a time on (nanoseconds since 1970).
fn frames(engine: &Engine, container: &str, since: Option<u64>) -> FrameStream {
    // The engine takes whole seconds; repeated frames are dropped by their time.
    let since = since.map_or(0, |since| i32::try_from(since / 1_000_000_000).unwrap_or(i32::MAX));
    engine.container_logs(container, since).map(frame_of).boxed()
}

fn frame_of(frame: Result<Option<LogFrame>, EngineError>) -> Result<Option<Frame>, FrameError> {
    let frame = frame.map_err(|error| {
        let text = error.to_string();
        if error.is_log_unreadable() { FrameError::Unreadable(text) } else { FrameError::Interrupted(text) }
    })?;
    let Some(LogFrame { stderr, at, bytes }) = frame else { return Ok(None) };
    let Ok(at) = at.duration_since(SystemTime::UNIX_EPOCH) else { return Ok(None) };
    Ok(Some(Frame {
        stream: if stderr { Stream::Stderr } else { Stream::Stdout },
        at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
        bytes,
    }))
}
