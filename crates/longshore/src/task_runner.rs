//! One task of an allocation: started, watched, started again, stopped.
//!
//! ```text
//! pending -> running -> (restart ->) complete | failed
//! ```

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use nomad_jobspec::job::{Group, Job, JobKind, Lifecycle, Task};
use nomad_plugin::{
    client::ClientError,
    driver::{Force, NetworkIsolation, PortMapping, Recoverability, TaskHandle, WaitResult},
    hclspec::Spec,
    id::TaskId,
};
use tokio::sync::watch;

use crate::{
    alloc::dir::AllocDir,
    driver::Driver,
    log_files::{Collection, LogFiles, Stream},
    node::Node,
    record::Record,
    report,
    restart::{Next, Outcome},
    state::Phase,
    stop::{Stop, asked},
};

/// What ends a task whatever it does.
pub(crate) const KILL: &str = "SIGKILL";

/// How long to wait before a task that could not be killed is killed again.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How often a driver is asked to give up a start.
const GIVING_UP: Duration = Duration::from_millis(200);

/// A task and what it needs.
pub(crate) struct TaskRunner {
    pub(crate) job: Arc<Job>,
    pub(crate) group: Group,
    pub(crate) task: Task,
    pub(crate) alloc_id: String,
    pub(crate) index: u32,
    pub(crate) ports: Vec<PortMapping>,
    pub(crate) network: Option<NetworkIsolation>,
    pub(crate) cores: Vec<u32>,
    pub(crate) node: Arc<Node>,
    pub(crate) schema: Arc<Spec>,
    pub(crate) dir: AllocDir,
    pub(crate) job_dir: Arc<Path>,
    pub(crate) driver: Driver,
    pub(crate) record: Arc<Record>,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// Why a task did not start.
struct NotStarted {
    message: String,
    outcome: Outcome,
}

impl TaskRunner {
    /// Runs the task to its end. `running` is a run that an earlier agent left.
    pub(crate) async fn run(mut self, mut running: Option<TaskHandle>) -> Phase {
        // An earlier agent has seen its end.
        if let Some(phase) = self.record.phase(&self.alloc_id, &self.task.name).filter(|phase| phase.is_over()) {
            return phase;
        }
        let logs = match self.collect_logs() {
            Ok(logs) => logs,
            Err(error) => {
                self.event("Setup Failure", &format!("failed to collect logs: {error}"));
                return self.over(Phase::Failed);
            }
        };
        let phase = loop {
            let started = match running.take() {
                Some(handle) => Ok(handle),
                None if self.stopping() => break Phase::Complete,
                None => self.start().await,
            };
            let outcome = match started {
                Ok(handle) => self.watch(handle).await,
                Err(NotStarted { message, outcome }) => {
                    let kind = if self.stopping() && outcome != Outcome::Fatal { "Killed" } else { "Driver Failure" };
                    self.event(kind, &message);
                    outcome
                }
            };
            if self.stopping() {
                break if outcome == Outcome::Fatal { Phase::Failed } else { Phase::Complete };
            }
            if let Some(phase) = self.over_after(outcome).await {
                break phase;
            }
        };
        for collection in logs {
            if let Err(error) = collection.finish().await {
                self.event("Log Failure", &error.to_string());
            }
        }
        self.over(phase)
    }

    /// Whether the task is meant to run on.
    fn kind(&self) -> JobKind {
        match self.task.lifecycle {
            None => self.job.kind,
            Some(Lifecycle { sidecar: true, .. }) => JobKind::Service,
            Some(Lifecycle { sidecar: false, .. }) => JobKind::Batch,
        }
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow() != Stop::No
    }

    fn over(&self, phase: Phase) -> Phase {
        self.record.task(&self.alloc_id, &self.task.name, |state| {
            state.phase = phase;
            state.handle = None;
        });
        phase
    }

    fn event(&self, kind: &str, message: &str) {
        self.record.event(&self.alloc_id, &self.task.name, kind, message);
    }

    fn collect_logs(&self) -> std::io::Result<Vec<Collection>> {
        if self.task.logs.disabled {
            return Ok(Vec::new());
        }
        let start = |stream| Collection::start(LogFiles::open(&self.dir, &self.task.name, stream)?, self.task.logs);
        Ok(vec![start(Stream::Stdout)?, start(Stream::Stderr)?])
    }

    /// What the task is after a run, if it is over; else waits until it is to be started again.
    async fn over_after(&mut self, outcome: Outcome) -> Option<Phase> {
        let now = SystemTime::now();
        let mut next = Next::Complete;
        self.record.task(&self.alloc_id, &self.task.name, |state| {
            next = state.history.next(&self.task.restart, self.kind(), outcome, now);
            if let Next::Restart(pause) = next {
                state.restarts += 1;
                state.restarts_at = Some(now + pause);
                state.phase = Phase::Pending;
            }
        });
        match next {
            Next::Complete => Some(Phase::Complete),
            Next::Failed(reason) => {
                self.event("Not Restarting", reason);
                Some(Phase::Failed)
            }
            Next::Restart(pause) => {
                self.event("Restarting", &format!("Task restarting in {pause:?}"));
                tokio::select! {
                    () = tokio::time::sleep(pause) => None,
                    // It is not for its last end that it is not started again.
                    () = asked(&mut self.stop, Stop::Gently) => Some(Phase::Complete),
                }
            }
        }
    }

    async fn start(&self) -> Result<TaskHandle, NotStarted> {
        let fatal = |message: String| NotStarted { message, outcome: Outcome::Fatal };
        let config = self.config().map_err(fatal)?;
        let id = config.id.clone();
        // An agent that is killed before the answer has left a container, perhaps.
        self.record.task(&self.alloc_id, &self.task.name, |state| {
            state.run = id.to_string();
            (state.started_at, state.restarts_at) = (None, None);
        });
        self.record.persist().await;
        let client = self.driver.current();
        let started = {
            let starting = client.start_task(config);
            tokio::pin!(starting);
            tokio::select! {
                started = &mut starting => started,
                () = self.give_up(&id) => starting.await,
            }
        };
        match started {
            Ok(started) => {
                let mut handle = started.handle;
                // Registry passwords are in it; a driver that takes a task over does without.
                handle.config.driver_config.clear();
                self.driver.runs(id.clone(), handle.clone());
                self.record.task(&self.alloc_id, &self.task.name, |state| {
                    state.phase = Phase::Running;
                    state.started_at = Some(SystemTime::now());
                    state.handle = Some(BASE64.encode(handle.to_bytes()));
                    state.exit_code = None;
                });
                self.event("Started", "Task started by client");
                Ok(handle)
            }
            Err(ClientError::Driver(error)) => Err(NotStarted {
                outcome: match error.recoverability {
                    Recoverability::Recoverable => Outcome::Failure,
                    Recoverability::Fatal | Recoverability::Unsaid => Outcome::Fatal,
                },
                message: error.message,
            }),
            // The next process of the driver finds the container, should there be one, by its name.
            Err(error) => Err(NotStarted { message: error.to_string(), outcome: Outcome::Failure }),
        }
    }

    /// Once the job is to end, has the driver give up a start that may be waiting for its image.
    async fn give_up(&self, id: &TaskId) {
        asked(&mut self.stop.clone(), Stop::Gently).await;
        loop {
            let client = self.driver.current();
            match client.stop_task(id.clone(), self.task.kill_timeout, self.task.kill_signal.clone()).await {
                // The driver does not know it yet, or is just making it.
                Err(error) if error.is_task_not_found() => tokio::time::sleep(GIVING_UP).await,
                _ => return,
            }
        }
    }

    /// Waits for the end of a run, or ends it.
    async fn watch(&mut self, handle: TaskHandle) -> Outcome {
        let id = handle.config.id.clone();
        let driver = self.driver.clone();
        let waiting = driver.call(|client| {
            let id = id.clone();
            async move { client.wait_task(id).await }
        });
        let mut stop = self.stop.clone();
        let waited = {
            tokio::pin!(waiting);
            tokio::select! {
                waited = &mut waiting => waited,
                () = asked(&mut stop, Stop::Gently) => {
                    self.end(&id).await;
                    waiting.await
                }
            }
        };
        let outcome = self.ended(waited);
        self.driver.ran(&id);
        let destroyed = driver.call(|client| {
            let id = id.clone();
            async move { client.destroy_task(id, Force::Yes).await }
        });
        if let Err(error) = destroyed.await {
            report::note(&format!("failed to clean up a task: {error}"));
        }
        outcome
    }

    /// Ends a run: asked first; at once when the person insists.
    async fn end(&self, id: &TaskId) {
        let timeout = self.task.kill_timeout;
        let signal = &self.task.kill_signal;
        self.event("Killing", &format!("Sent interrupt. Waiting {timeout:?} before force killing"));
        let ask = |timeout, signal: &str| {
            let signal = signal.to_owned();
            self.driver.call(move |client| {
                let (id, signal) = (id.clone(), signal.clone());
                async move { client.stop_task(id, timeout, signal).await }
            })
        };
        let mut stop = self.stop.clone();
        let kill = || ask(Duration::ZERO, KILL);
        let asked = async {
            if *stop.borrow() == Stop::Now {
                return kill().await;
            }
            tokio::select! {
                asked = ask(timeout, signal) => asked,
                () = asked(&mut stop, Stop::Now) => kill().await,
            }
        };
        let Err(error) = asked.await else { return };
        // A signal that there is not, for example: nothing else would end the task.
        self.event("Killing", &format!("failed to stop; killing it: {error}"));
        let Err(error) = kill().await else { return };
        self.event("Killing", &format!("failed to kill; retrying until it ends: {error}"));
        // The engine is away. It must not go on with the task when it is back.
        while kill().await.is_err_and(|error| !error.is_task_not_found()) {
            tokio::time::sleep(KILL_AGAIN).await;
        }
    }

    fn ended(&self, waited: Result<WaitResult, ClientError>) -> Outcome {
        let (message, exit_code, outcome) = match waited {
            Ok(WaitResult { result, error }) => {
                let message = format!("Exit Code: {}", result.exit_code);
                let message = if error.is_empty() { message } else { format!("{message}, Exit Message: {error:?}") };
                let outcome = if result.exit_code == 0 { Outcome::Success } else { Outcome::Failure };
                (message, Some(result.exit_code), outcome)
            }
            Err(error) => (format!("the driver lost the task: {error}"), None, Outcome::Failure),
        };
        self.record.task(&self.alloc_id, &self.task.name, |state| {
            state.exit_code = exit_code;
            state.handle = None;
        });
        self.event(if self.stopping() { "Killed" } else { "Terminated" }, &message);
        outcome
    }
}

/// A handle as the state keeps it.
pub(crate) fn handle_of(text: &str) -> Option<TaskHandle> {
    TaskHandle::from_bytes(&BASE64.decode(text).ok()?)
}

/// The runs of an allocation's tasks that an earlier agent left, by task.
pub(crate) fn left_running(tasks: &BTreeMap<String, crate::state::TaskState>) -> BTreeMap<String, TaskHandle> {
    let handle = |state: &crate::state::TaskState| handle_of(state.handle.as_deref()?);
    tasks.iter().filter_map(|(name, state)| Some((name.clone(), handle(state)?))).collect()
}
