//! A driver for tests of the agent: no process, no engine, no root, and time that may be paused.
//!
//! The agent speaks to it as to any driver, by the plugin protocol. Its tasks do what a test says, and outlive the
//! driver's process, as containers do.

mod machine;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use nomad_plugin::{
    client::{DriverClient, InProcess},
    driver::{
        BoxStream, Capabilities, CreatedNetwork, Driver, DriverError, ExecEvent, ExecInput, ExecOutput, ExecSetup,
        ExitResult, Fingerprint, Force, FsIsolation, Health, InspectedTask, MountConfigs, NetworkIsolation,
        NetworkOverride, PluginInfo, SetConfig, StartedTask, TaskConfig, TaskEvent, TaskHandle, TaskState, TaskUsage,
        WaitResult,
    },
    hclspec::Spec,
    id::{AllocId, TaskId},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

pub(crate) use self::machine::{Machine, task};
use crate::{Failure, driver::Launch};

type Answer<T> = Result<T, DriverError>;

/// What a run of a task does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Run {
    /// Ends by itself.
    Exits(Duration, i32),
    /// Ends with 0 as soon as it is asked to.
    Obeys,
    /// Ends only when it is killed.
    Ignores,
    /// Is not started.
    Fails(DriverError),
    /// Waits for its image until it is stopped.
    Waits,
}

/// The driver and its tasks.
#[derive(Clone)]
pub(crate) struct FakeDriver(Arc<World>);

struct World {
    begin: Instant,
    called: watch::Sender<()>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What the next runs of each task do; then they obey.
    runs: BTreeMap<String, VecDeque<Run>>,
    tasks: BTreeMap<TaskId, Started>,
    calls: Vec<(Duration, String)>,
    process: Option<InProcess>,
    /// How many processes are not started before one is.
    unlaunchable: u32,
    clocks: JoinSet<()>,
}

#[derive(Clone)]
struct Started {
    run: Run,
    exit: watch::Sender<Option<i32>>,
}

/// The task's name in an id.
fn name(id: &TaskId) -> String {
    id.as_str().split('/').nth(1).unwrap_or_default().to_owned()
}

impl FakeDriver {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(World { begin: Instant::now(), called: watch::Sender::default(), inner: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, call: String) {
        self.lock().calls.push((self.0.begin.elapsed(), call));
        self.0.called.send_replace(());
    }

    /// What the next runs of a task do.
    pub(crate) fn runs(&self, task: &str, runs: impl IntoIterator<Item = Run>) {
        self.lock().runs.entry(task.to_owned()).or_default().extend(runs);
    }

    /// Calls so far, in order, each with whole seconds since the begin: `15 start web`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.lock().calls.iter().map(|(at, call)| format!("{} {call}", at.as_secs())).collect()
    }

    /// Calls so far without their times.
    pub(crate) fn order(&self) -> Vec<String> {
        self.lock().calls.iter().map(|(_, call)| call.clone()).collect()
    }

    /// When a call was made, each time.
    pub(crate) fn times(&self, call: &str) -> Vec<Duration> {
        self.lock().calls.iter().filter(|(_, made)| made == call).map(|(at, _)| *at).collect()
    }

    /// Kills the driver's process, where there is one; its tasks run on. What waited for its image is forgotten.
    pub(crate) fn kill_process(&self) {
        let mut inner = self.lock();
        inner.tasks.retain(|_, task| task.run != Run::Waits);
        let process = inner.process.take();
        drop(inner);
        drop(process);
    }

    /// When tasks were started after a time.
    pub(crate) fn starts_after(&self, time: Instant) -> Vec<Duration> {
        let after = time - self.0.begin;
        let inner = self.lock();
        inner.calls.iter().filter(|(at, call)| *at > after && call.starts_with("start ")).map(|(at, _)| *at).collect()
    }

    /// As many processes as this are not started before one is.
    pub(crate) fn cannot_be_launched(&self, times: u32) {
        self.lock().unlaunchable = times;
    }

    /// Removes a task behind the driver's back.
    pub(crate) fn remove_task(&self, task: &str) {
        self.lock().tasks.retain(|id, _| name(id) != task);
    }

    /// Ends a task by itself.
    pub(crate) fn exit(&self, task: &str, code: i32) {
        let of_name: Vec<Started> =
            self.lock().tasks.iter().filter(|(id, _)| name(id) == task).map(|(_, task)| task.clone()).collect();
        for task in &of_name {
            end(task, code);
        }
    }

    /// Whether tasks run.
    pub(crate) fn has_running(&self) -> bool {
        self.lock().tasks.values().any(|task| task.exit.borrow().is_none())
    }

    fn task(&self, id: &TaskId) -> Answer<Started> {
        self.lock().tasks.get(id).cloned().ok_or_else(DriverError::task_not_found)
    }
}

fn end(task: &Started, code: i32) {
    task.exit.send_if_modified(|exit| exit.is_none() && exit.replace(code).is_none());
}

async fn ended(task: &Started) -> i32 {
    let mut exit = task.exit.subscribe();
    exit.wait_for(Option::is_some).await.ok().and_then(|code| *code).unwrap_or(-1)
}

impl Launch for FakeDriver {
    async fn launch(&self) -> Result<DriverClient, Failure> {
        self.log("launch".to_owned());
        if self.lock().unlaunchable > 0 {
            self.lock().unlaunchable -= 1;
            return Err(Failure::Engine("the driver cannot be launched".to_owned()));
        }
        let (client, process) = DriverClient::in_process(self.clone()).await.unwrap();
        self.lock().process = Some(process);
        Ok(client)
    }
}

impl Driver for FakeDriver {
    fn info(&self) -> PluginInfo {
        PluginInfo { name: "fake".into(), version: "0.1.0".into(), api_versions: vec!["v0.1.0".into()] }
    }

    fn config_schema(&self) -> Spec {
        Spec::object([])
    }

    async fn set_config(&self, _: SetConfig) -> Answer<()> {
        Ok(())
    }

    fn task_config_schema(&self) -> Spec {
        Spec::object([])
    }

    async fn capabilities(&self) -> Answer<Capabilities> {
        Ok(Capabilities {
            send_signals: true,
            exec: true,
            fs_isolation: FsIsolation::Image,
            network_isolation_modes: Vec::new(),
            must_create_network: false,
            mount_configs: MountConfigs::Any,
            disable_log_collection: true,
            dynamic_workload_users: false,
        })
    }

    async fn init(&self) -> Answer<()> {
        Ok(())
    }

    async fn fingerprint(&self) -> Answer<BoxStream<Fingerprint>> {
        let fingerprint =
            Fingerprint { attributes: BTreeMap::new(), health: Health::Healthy, description: "Healthy".into() };
        Ok(stream::iter([fingerprint]).chain(stream::pending()).boxed())
    }

    async fn recover_task(&self, handle: TaskHandle) -> Answer<()> {
        self.log(format!("recover {}", name(&handle.config.id)));
        self.task(&handle.config.id).map(drop)
    }

    async fn start_task(&self, task: TaskConfig) -> Answer<StartedTask> {
        self.log(format!("start {}", task.name));
        let run = self.lock().runs.get_mut(&task.name).and_then(VecDeque::pop_front).unwrap_or(Run::Obeys);
        let started = Started { run: run.clone(), exit: watch::Sender::default() };
        match run {
            Run::Fails(error) => return Err(error),
            Run::Waits => {
                self.lock().tasks.insert(task.id.clone(), started.clone());
                ended(&started).await;
                self.lock().tasks.remove(&task.id);
                return Err(DriverError::recoverable("stopped while it waited for its image"));
            }
            Run::Exits(after, code) => {
                let task = started.clone();
                #[expect(clippy::disallowed_methods, reason = "the driver holds the set")]
                self.lock().clocks.spawn(async move {
                    sleep(after).await;
                    end(&task, code);
                });
            }
            Run::Obeys | Run::Ignores => {}
        }
        self.lock().tasks.insert(task.id.clone(), started);
        let handle = TaskHandle { version: 1, config: task, state: TaskState::Running, driver_state: Vec::new() };
        Ok(StartedTask { handle, network: NetworkOverride::default() })
    }

    async fn wait_task(&self, id: TaskId) -> Answer<WaitResult> {
        let exit_code = ended(&self.task(&id)?).await;
        Ok(WaitResult { result: ExitResult { exit_code, ..ExitResult::default() }, error: String::new() })
    }

    async fn stop_task(&self, id: TaskId, timeout: Duration, signal: String) -> Answer<()> {
        let task = self.task(&id)?;
        self.log(format!("stop {} {signal} {}", name(&id), timeout.as_secs()));
        if signal == "SIGXFSZ" {
            return Err(DriverError::new("no such signal"));
        }
        match task.run {
            Run::Obeys if !timeout.is_zero() => end(&task, 0),
            Run::Waits => end(&task, 0),
            _ => {
                tokio::select! {
                    () = sleep(timeout) => end(&task, 137),
                    _ = ended(&task) => {}
                }
            }
        }
        Ok(())
    }

    async fn destroy_task(&self, id: TaskId, _: Force) -> Answer<()> {
        self.log(format!("destroy {}", name(&id)));
        self.lock().tasks.remove(&id).map(drop).ok_or_else(DriverError::task_not_found)
    }

    async fn inspect_task(&self, _: TaskId) -> Answer<InspectedTask> {
        Err(DriverError::task_not_found())
    }

    async fn task_stats(&self, _: TaskId, _: Duration) -> Answer<BoxStream<Answer<TaskUsage>>> {
        Ok(stream::pending().boxed())
    }

    async fn task_events(&self) -> Answer<BoxStream<TaskEvent>> {
        Ok(stream::pending().boxed())
    }

    async fn signal_task(&self, _: TaskId, _: String) -> Answer<()> {
        Ok(())
    }

    async fn exec_task(&self, _: TaskId, _: Vec<String>, _: Duration) -> Answer<ExecOutput> {
        Err(DriverError::new("not here"))
    }

    async fn exec_task_streaming(&self, _: ExecSetup, _: BoxStream<ExecInput>) -> Answer<BoxStream<Answer<ExecEvent>>> {
        Err(DriverError::new("not here"))
    }

    async fn create_network(&self, _: AllocId, _: String) -> Answer<CreatedNetwork> {
        Err(DriverError::recoverable("no networks here"))
    }

    async fn destroy_network(&self, _: AllocId, _: Option<NetworkIsolation>) -> Answer<()> {
        self.log("destroy network".to_owned());
        Ok(())
    }

    async fn shutdown(&self) -> Answer<()> {
        self.log("shutdown".to_owned());
        Ok(())
    }
}
