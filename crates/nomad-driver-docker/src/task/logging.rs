//! Where a task's log is collected from: the engine's json files on this host, or else the engine's logs API.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use futures_util::StreamExt;
use nomad_plugin::driver::{DriverError, TaskConfig};

use super::{Surroundings, logger, state::Logger, watch_exit};
use crate::{
    container::task_dir,
    engine::{Engine, EngineError, EngineFacts, LogFrame},
    events::EventSubject,
    logs::{
        Arrived, Collector, Frame, FrameError, FrameStream, LogReport, LogSink, LogSource, LogTask, Since, Stream,
        follow_engine, has_position,
    },
};

/// The process's log collector, started with its first task.
#[derive(Clone, Default)]
pub struct Logs(Arc<OnceLock<Result<Collector, String>>>);

/// Whether a container is new or was another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    New,
    /// Another process of this driver collected, and left its position.
    TakenOver,
    /// The built-in driver's logger collected: what arrived of it says how far it came.
    HandedOver(Arrived),
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

/// In the task's own directory, of which the container sees parts, and not this one.
fn position_file(task: &TaskConfig) -> PathBuf {
    task_dir(task).join(".docker-log-position.json")
}

/// How to go on with the log of a container that runs already. The built-in driver's loggers are ended first; `named` is the
/// one in the task's state.
pub(super) async fn take_over(task: &TaskConfig, container: &str, named: Option<&Logger>) -> Begin {
    let sink = sink(task);
    let ended = logger::end_all(named, &sink.stdout).await;
    // Nomad's record names the logger for as long as the task lives: it says nothing once this driver has collected.
    if ended || (named.is_some() && !has_position(&position_file(task), container)) {
        Begin::HandedOver(Arrived::at(&sink).await)
    } else {
        Begin::TakenOver
    }
}

/// Begins to collect; `None` where nobody wants the log. A new container must not have been started yet.
pub(super) fn collect(
    around: &Surroundings,
    facts: &EngineFacts,
    subject: &Subject<'_>,
    begin: &Begin,
) -> Result<Option<LogTask>, DriverError> {
    let Subject { task, container, driver } = *subject;
    let sink = sink(task);
    let nowhere = |path: &Path| path == Path::new("/dev/null");
    if around.plugin.disable_log_collection || (nowhere(&sink.stdout) && nowhere(&sink.stderr)) {
        return Ok(None);
    }
    let position = position_file(task);
    let events = around.events.clone();
    let owner = EventSubject::from(task);
    let report = move |report: LogReport| {
        tracing::warn!(task = owner.task_id.as_str(), "{report}");
        events.emit(&owner, report.to_string(), std::collections::BTreeMap::new());
    };
    let failed = |error: &dyn std::fmt::Display| DriverError::new(format!("failed to collect the task's log: {error}"));

    let driver = if driver.is_empty() { facts.logging_driver.as_str() } else { driver };
    let directory = facts.root_dir.join("containers").join(container);
    if driver == "json-file" && around.engine.is_local() {
        let collector = around.logs.0.get_or_init(|| Collector::start().map_err(|error| error.to_string()));
        let collector = collector.as_ref().map_err(|error| failed(error))?;
        let source = LogSource { container_id: container.to_owned(), directory: directory.clone() };
        let report = report.clone();
        let collected = match begin {
            Begin::New => collector.watch(source, &sink, &position, report),
            Begin::TakenOver => collector.resume(source, &sink, &position, report),
            Begin::HandedOver(arrived) => collector.hand_over(source, &sink, &position, arrived.clone(), report),
        };
        match collected {
            Ok(collected) => return Ok(Some(collected)),
            // An engine in another mount namespace, or files that this user may not read.
            Err(_) if !readable(&directory) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    let engine = around.engine.clone();
    let id = container.to_owned();
    let open = move |since: Option<u64>| frames(&engine, &id, since);
    let since = match begin {
        Begin::New => Since::Beginning,
        Begin::TakenOver => Since::Position,
        Begin::HandedOver(_) => Since::Now,
    };
    follow_engine(container, since, open, &sink, &position, report).map(Some).map_err(|error| failed(&error))
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
    let LogFrame { stderr, stamped } = frame.map_err(|error| {
        let said = error.to_string();
        let lower = said.to_lowercase();
        if lower.contains("configured logging driver does not support reading") || lower.contains("not implemented") {
            FrameError::Unreadable(said)
        } else {
            FrameError::Interrupted(said)
        }
    })?;
    let Some(blank) = stamped.iter().position(|byte| *byte == b' ') else { return Ok(None) };
    let at = std::str::from_utf8(&stamped[..blank]).ok().and_then(watch_exit::time);
    let Some(at) = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()) else { return Ok(None) };
    Ok(Some(Frame {
        stream: if stderr { Stream::Stderr } else { Stream::Stdout },
        at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
        bytes: stamped.slice(blank + 1..),
    }))
}
