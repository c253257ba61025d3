//! Where a task's log is collected from: the engine's json files on this host, or else the engine's logs API.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::StreamExt;
use nomad_plugin::{
    driver::{DriverError, TaskConfig},
    id::AllocId,
};

use super::{Surroundings, TaskStore, logger, state::Logger};
use crate::{
    background::apart,
    container::{ALLOC_ID, task_dir},
    engine::{Engine, EngineError, EngineFacts, LogFrame},
    events::EventSubject,
    logs::{
        Arrived, Begin, Collector, Ends, Frame, FrameError, FrameStream, LogReport, LogSink, LogTask, Records, Since,
        Stream,
        view::{self, Views},
    },
    network,
};

/// When an agent that has many tasks has handed all of them over.
const HANDED_OVER: Duration = Duration::from_secs(300);
/// How old a record is before it is looked for whose it is: a container is made before its record.
const LEFT: Duration = Duration::from_secs(300);
/// How many are looked at in one round.
const SWEPT: usize = 100;
/// How long the look at an earlier record may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the process does for logs, started with its first task.
#[derive(Clone, Default)]
pub struct Logs {
    collector: Arc<OnceLock<Collector>>,
    views: Arc<OnceLock<Views>>,
    /// Held while one of them is started. What could not be started is tried again by the next task.
    starting: Arc<Mutex<()>>,
}

/// A container whose log is to be collected.
pub(super) struct Subject<'a> {
    pub(super) task: &'a TaskConfig,
    pub(super) container: &'a str,
    /// The logging driver; empty is the engine's default.
    pub(super) driver: &'a str,
}

fn sink(task: &TaskConfig) -> LogSink {
    LogSink {
        alloc_dir: PathBuf::from(&task.alloc_dir),
        stdout: PathBuf::from(&task.stdout_path),
        stderr: PathBuf::from(&task.stderr_path),
    }
}

/// Where drivers before kept the position.
fn former_record(task: &TaskConfig) -> PathBuf {
    task_dir(task).join(".docker-log-position.json")
}

/// What a container's log is collected from and for.
pub(super) struct Logging<'a> {
    around: &'a Surroundings,
    subject: Subject<'a>,
    /// `None` where nobody wants the log.
    ends: Option<(&'a Collector, Ends)>,
    begin: Begin,
}

impl Logs {
    /// Lets go of the pipes of a container whose log is not collected to its end.
    pub async fn release(&self, container: &str) {
        if let Some(collector) = self.collector.get() {
            collector.release(container).await;
        }
    }

    /// Keeps what an allocation's tasks see of its logs current.
    async fn show(&self, alloc_dir: &Path) {
        let views = match self.started(&self.views, Views::start) {
            Ok(views) => views,
            Err(error) => return tracing::warn!(%error, "tasks do not see new log files"),
        };
        if let Err(error) = views.show(alloc_dir).await {
            tracing::warn!(alloc_dir = %alloc_dir.display(), %error, "tasks do not see new log files");
        }
    }

    /// Removes what the tasks of a task's allocation saw of its logs, where there are none any more.
    pub async fn hide(&self, around: &Surroundings, tasks: &TaskStore, task: &TaskConfig) {
        let Some(views) = self.views.get() else { return };
        // A task that is not taken over yet is known by its container alone.
        let is_recent = tasks.since_recovery().is_some_and(|since| since < HANDED_OVER);
        // The engine is asked first: a task may begin meanwhile.
        if (is_recent && has_running(around, &task.alloc_id).await) || tasks.has_tasks_of(&task.alloc_id) {
            return;
        }
        views.hide(Path::new(&task.alloc_dir)).await;
    }

    /// Removes what is left of tasks that are gone: a driver that died left it.
    pub async fn sweep(&self, around: &Surroundings, tasks: &TaskStore) {
        let (records, allocs) = (Records::new(&around.plugin.state_dir), around.node.known().allocs);
        let _late = apart(PATIENCE, move || {
            view::remove_left(&allocs);
            Ok(())
        })
        .await;
        let known = tasks.containers();
        let left = records.older_than(LEFT).into_iter().filter(|container| !known.contains(container));
        for container in left.take(SWEPT) {
            if around.engine.inspect_container(&container).await.is_err_and(|error| error.is_not_found()) {
                records.remove(&container);
            }
        }
    }

    fn collector(&self, state_dir: &Path) -> Result<&Collector, DriverError> {
        self.started(&self.collector, || Collector::start(state_dir)).map_err(failed)
    }

    /// What is started once.
    fn started<'a, T>(&self, place: &'a OnceLock<T>, start: impl FnOnce() -> io::Result<T>) -> io::Result<&'a T> {
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        match place.get() {
            Some(started) => Ok(started),
            None => start().map(|started| place.get_or_init(|| started)),
        }
    }
}

/// Whether an allocation has a container that runs, other than its pause container, as far as can be said.
async fn has_running(around: &Surroundings, alloc: &AllocId) -> bool {
    let found = around.engine.containers_with_label(&format!("{ALLOC_ID}={alloc}")).await;
    found.map_or(true, |found| found.iter().any(|found| found.is_running() && !network::is_pause(found)))
}

fn failed(error: impl std::fmt::Display) -> DriverError {
    DriverError::new(format!("failed to collect the task's log: {error}"))
}

/// The collector, if somebody wants the log.
fn wanted<'a>(around: &'a Surroundings, task: &TaskConfig) -> Result<Option<&'a Collector>, DriverError> {
    let nowhere = |path: &str| path == "/dev/null";
    let nobody = nowhere(&task.stdout_path) && nowhere(&task.stderr_path);
    if around.plugin.disable_log_collection || nobody {
        return Ok(None);
    }
    around.logs.collector(&around.plugin.state_dir).map(Some)
}

impl<'a> Logging<'a> {
    /// Of a new container, which must not have been started yet.
    pub(super) async fn new(around: &'a Surroundings, subject: Subject<'a>) -> Result<Self, DriverError> {
        around.logs.show(Path::new(&subject.task.alloc_dir)).await;
        let ends = match wanted(around, subject.task)? {
            Some(collector) => {
                Some((collector, collector.open_new(&sink(subject.task), subject.container).await.map_err(failed)?))
            }
            None => None,
        };
        Ok(Self { around, subject, ends, begin: Begin::New })
    }

    /// Of a container that runs already. The built-in driver's loggers are ended, once the pipes are held: their reader is
    /// not to find the end of file. `named` is the logger in the task's state. A log that cannot be collected is reported, and
    /// the task is adopted without it.
    pub(super) async fn adopted(around: &'a Surroundings, subject: Subject<'a>, named: Option<&Logger>) -> Self {
        let (task, container) = (subject.task, subject.container);
        let sink = sink(task);
        around.logs.show(&sink.alloc_dir).await;
        let ends = match adopted_ends(around, task, &sink, container).await {
            Ok(ends) => ends,
            Err(error) => {
                not_collected(around, task, &error);
                None
            }
        };
        let ended = logger::end_all(named, &sink.alloc_dir, &sink.stdout).await;
        // Nomad's record names the logger for as long as the task lives: it says nothing once this driver has collected.
        let has_record = || ends.as_ref().is_some_and(|(collector, _)| collector.records().has(container));
        let begin = if ended || (named.is_some() && !has_record()) {
            Begin::HandedOver(Arrived::at(&sink).await)
        } else {
            Begin::TakenOver
        };
        Self { around, subject, ends, begin }
    }

    /// Begins to collect.
    pub(super) async fn begin(self, facts: &EngineFacts) -> Result<Option<LogTask>, DriverError> {
        let (around, task, is_new) = (self.around, self.subject.task, self.begin == Begin::New);
        match self.collect(facts).await {
            Err(error) if !is_new => {
                not_collected(around, task, &error);
                Ok(None)
            }
            collected => collected.map_err(failed),
        }
    }

    async fn collect(self, facts: &EngineFacts) -> io::Result<Option<LogTask>> {
        let Self { around, subject: Subject { task, container, driver }, ends, begin } = self;
        let Some((collector, mut ends)) = ends else { return Ok(None) };
        let sink = sink(task);
        let report = reports(around, task);
        let driver = if driver.is_empty() { facts.logging_driver.as_str() } else { driver };
        let directory = facts.root_dir.join("containers").join(container);
        if driver == "json-file" && around.engine.is_local() {
            match collector.follow(&directory, ends, &sink, report.clone(), begin.clone()).await {
                Ok(collected) => return Ok(Some(collected)),
                // An engine in another mount namespace, or files that this user may not read.
                Err(_) if !readable(&directory) => {}
                Err(error) => return Err(error),
            }
            ends = collector.open(&sink, container).await?;
        }
        let engine = around.engine.clone();
        let id = container.to_owned();
        let open = move |since: Option<u64>| frames(&engine, &id, since);
        let since = match begin {
            Begin::New => Since::Beginning,
            Begin::TakenOver => Since::Position,
            Begin::HandedOver(_) => Since::Now,
        };
        collector.follow_engine(since, open, ends, report).map(Some)
    }
}

/// The ends of a container's pipes, with the record of a driver before moved to where it is looked for.
async fn adopted_ends<'a>(
    around: &'a Surroundings,
    task: &TaskConfig,
    sink: &LogSink,
    container: &str,
) -> Result<Option<(&'a Collector, Ends)>, DriverError> {
    let Some(collector) = wanted(around, task)? else { return Ok(None) };
    let (records, id) = (collector.records().clone(), container.to_owned());
    let (alloc_dir, former) = (sink.alloc_dir.clone(), former_record(task));
    if let Err(error) = apart(PATIENCE, move || records.adopt(&id, &alloc_dir, &former)).await {
        tracing::warn!(container, %error, "the record of an earlier version of what was collected is ignored");
    }
    collector.open(sink, container).await.map(|ends| Some((collector, ends))).map_err(failed)
}

fn reports(around: &Surroundings, task: &TaskConfig) -> impl Fn(LogReport) + Clone + Send + Sync + use<> {
    let (events, owner) = (around.events.clone(), EventSubject::from(task));
    move |report: LogReport| {
        tracing::warn!(task = owner.task_id.as_str(), "{report}");
        events.emit(&owner, report.to_string(), std::collections::BTreeMap::new());
    }
}

fn not_collected(around: &Surroundings, task: &TaskConfig, error: &impl ToString) {
    reports(around, task)(LogReport::Failed { what: error.to_string() });
}

fn readable(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied),
    }
}

/// The engine's log stream from a time on (nanoseconds since 1970).
fn frames(engine: &Engine, container: &str, since: Option<u64>) -> FrameStream {
    // The engine takes whole seconds; what comes again is left out by its time.
    let since = since.map_or(0, |since| i32::try_from(since / 1_000_000_000).unwrap_or(i32::MAX));
    let frames = engine.container_logs(container, since);
    frames.filter_map(|frame| std::future::ready(frame_of(frame).transpose())).boxed()
}

fn frame_of(frame: Result<LogFrame, EngineError>) -> Result<Option<Frame>, FrameError> {
    let LogFrame { stderr, at, bytes } = frame.map_err(|error| {
        let text = error.to_string();
        if error.is_log_unreadable() { FrameError::Unreadable(text) } else { FrameError::Interrupted(text) }
    })?;
    let Ok(at) = at.duration_since(SystemTime::UNIX_EPOCH) else { return Ok(None) };
    Ok(Some(Frame {
        stream: if stderr { Stream::Stderr } else { Stream::Stdout },
        at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
        bytes,
    }))
}
