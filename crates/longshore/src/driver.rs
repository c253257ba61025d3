//! The driver's process: started, found again, and started anew when it dies while its tasks go on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use image_service::{ImageClient, ImageError};
use nomad_jobspec::{body::Body, decode::decode};
use nomad_plugin::{
    client::{ClientError, DriverClient, LaunchOptions, Reattach},
    driver::{DriverError, Fingerprint, Recoverability, SetConfig, TaskHandle},
    hclspec::Spec,
    id::TaskId,
    msgpack::{Value, encode},
};
use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    Failure,
    agent_file::{self, STATE_DIR},
    cli::Options,
    prefetched, report,
    state::DataDir,
};

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a driver that runs already may take to say its name.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The driver's option that says whether a container without the label of a node can be this node's.
const UNLABELLED: [&str; 3] = ["gc", "dangling_containers", "unlabelled"];

/// How to start the driver.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    program: PathBuf,
    config: Option<PathBuf>,
    /// Where the driver keeps what must outlive its process.
    state_dir: Option<PathBuf>,
    /// Where it is known which images are kept.
    data: Option<DataDir>,
}

impl Launcher {
    /// From the command line.
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("nomad-driver-docker"));
        let program = options.plugin.clone().or_else(beside).unwrap_or_default();
        if !program.is_file() {
            let message = format!("there is no driver at {}\nhint: name one with --plugin", program.display());
            return Err(Failure::Usage(message));
        }
        Ok(Self { program, config: options.config.clone(), state_dir: None, data: None })
    }

    /// For a job's own driver: it keeps its state in the job's directory, apart from those of other jobs.
    pub(crate) fn of_job(self, data: &DataDir, job: &str) -> Self {
        Self { state_dir: Some(state_dir(data, job)), data: Some(data.clone()), ..self }
    }

    /// For a driver of no job.
    pub(crate) fn of_none(self, data: &DataDir) -> Self {
        Self { state_dir: Some(data.path().join("driver")), data: Some(data.clone()), ..self }
    }

    /// Starts a driver's process and configures it.
    pub(crate) async fn launch(&self) -> Result<DriverClient, Failure> {
        let options = LaunchOptions {
            program: self.program.clone(),
            args: Vec::new(),
            env: Vec::new(),
            socket_dir: self.data.as_ref().and_then(socket_dir),
            start_timeout: START_TIMEOUT,
            log: Arc::new(log),
        };
        let driver = DriverClient::launch(options).await.map_err(|error| Failure::Engine(error.to_string()))?;
        match self.configure(&driver).await {
            Ok(()) => Ok(driver),
            Err(failure) => {
                driver.kill().await;
                Err(failure)
            }
        }
    }

    async fn configure(&self, driver: &DriverClient) -> Result<(), Failure> {
        let failed = |error: ClientError| Failure::Engine(error.to_string());
        let (source, mut body) = match &self.config {
            Some(path) => agent_file::load(path)?,
            None => (nomad_jobspec::Source { name: String::new(), text: String::new() }, Body::default()),
        };
        let schema = driver.config_schema().await.map_err(failed)?;
        if let (Some(directory), Spec::Object(options)) = (&self.state_dir, &schema)
            && options.contains_key(STATE_DIR)
        {
            agent_file::set_state_dir(&mut body, directory);
        }
        let mut config = decode(&body, &schema, &|_| None)
            .map_err(|problems| Failure::Usage(nomad_jobspec::Diagnostics::new(&source, problems).to_string()))?;
        // An agent on this machine may run the built-in driver, whose containers have none. No file makes them ours.
        if let Some(unlabelled) = option(&mut config, &UNLABELLED) {
            *unlabelled = Value::Bool(false);
        }
        let config = SetConfig { msgpack: encode(&config), nomad: None, api_version: "v0.1.0".into() };
        driver.set_config(config).await.map_err(|error| Failure::Usage(error.to_string()))?;
        driver.init().await.map_err(failed)?;
        // Before the first fingerprint, from which on the driver removes images.
        let Some(data) = &self.data else { return Ok(()) };
        let kept = prefetched::read(data).map_err(|error| data.failed(&error))?;
        if kept.is_empty() {
            return Ok(());
        }
        match ImageClient::new(driver.channel()).keep(kept.into_iter().collect()).await {
            Ok(()) | Err(ImageError::Unserved) => Ok(()),
            Err(error) => Err(Failure::Engine(error.to_string())),
        }
    }
}

/// Where drivers' sockets are: no other user can put one there. `None` where the path is too long for a socket's.
fn socket_dir(data: &DataDir) -> Option<PathBuf> {
    const LONGEST: usize = 107;
    const SOCKET: &str = "/plugin4194304-XXXXXX/s";
    let directory = data.run();
    remove_stale_sockets(&directory);
    (directory.as_os_str().len() + SOCKET.len() <= LONGEST).then_some(directory)
}

/// Removes those of processes that were killed.
fn remove_stale_sockets(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let pid = |name: &str| name.strip_prefix("plugin")?.split('-').next()?.parse().ok();
        let pid = entry.file_name().to_str().and_then(pid);
        let gone = pid.and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH));
        if gone {
            // In a directory of its own, but for drivers before.
            let _not_there = std::fs::remove_file(entry.path().join("s"));
            let _removed_meanwhile = std::fs::remove_dir(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
        }
    }
}

/// An option of a decoded configuration; `None` where the driver has no such option.
fn option<'a>(config: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(config, |value, name| match value {
        Value::Map(options) => options.get_mut(*name),
        _ => None,
    })
}

/// Where a job's driver keeps what must outlive its process.
pub(crate) fn state_dir(data: &DataDir, job: &str) -> PathBuf {
    data.job(job).join("driver")
}

/// The driver's own words: errors and warnings are for the person.
fn log(line: nomad_plugin::client::LogLine) {
    use nomad_plugin::client::LogLine;
    if let LogLine::Entry { level, message, fields } = line
        && matches!(level.as_str(), "warn" | "error")
    {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        report::note(&format!("driver: {message} {}", fields.join(" ")));
    }
}

/// The driver in use. When its process dies another one is started, which takes the running tasks over.
pub(crate) struct Driver {
    current: watch::Receiver<Arc<DriverClient>>,
    running: Arc<Mutex<BTreeMap<TaskId, TaskHandle>>>,
    keeper: JoinHandle<()>,
}

/// Told with each new process, so that it can be found again.
pub(crate) type OnNew = Box<dyn Fn(&Reattach) + Send + Sync>;

impl Driver {
    /// Finds the process of an earlier agent, or starts one. `running` are tasks to take over.
    pub(crate) async fn start(
        launcher: Launcher,
        earlier: Option<Reattach>,
        running: BTreeMap<TaskId, TaskHandle>,
        on_new: OnNew,
    ) -> Result<Self, Failure> {
        let found = match earlier {
            Some(reattach) => find(reattach).await?,
            None => None,
        };
        let (client, is_new) = match found {
            Some(client) => (client, false),
            None => (launcher.launch().await?, true),
        };
        on_new(client.reattach_config());
        // What the process knows already it takes for known.
        if let Err(error) = take_over(&client, &running).await {
            if is_new {
                client.kill().await;
            }
            return Err(no_engine(&error.message));
        }
        let (sender, current) = watch::channel(Arc::new(client));
        let running = Arc::new(Mutex::new(running));
        #[expect(clippy::disallowed_methods, reason = "the driver holds it")]
        let keeper = tokio::spawn(keep(launcher, sender, running.clone(), on_new));
        Ok(Self { current, running, keeper })
    }

    /// The process in use.
    pub(crate) fn current(&self) -> Arc<DriverClient> {
        self.current.borrow().clone()
    }

    /// Waits until another process has taken this one's place.
    pub(crate) async fn renewed(&self, old: &Arc<DriverClient>) {
        let mut current = self.current.clone();
        let _no_more_processes = current.wait_for(|client| !Arc::ptr_eq(client, old)).await;
    }

    /// Makes a call; one that a dying process does not answer is made to the next one again.
    pub(crate) async fn call<T, F>(&self, call: impl Fn(Arc<DriverClient>) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut current = self.current.clone();
        loop {
            let client = current.borrow_and_update().clone();
            match call(client).await {
                Err(ClientError::Transport(status)) => {
                    if current.changed().await.is_err() {
                        return Err(ClientError::Transport(status));
                    }
                }
                other => return other,
            }
        }
    }

    /// The task runs: a new process has to take it over.
    pub(crate) fn runs(&self, id: TaskId, handle: TaskHandle) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id, handle);
    }

    /// The task runs no more.
    pub(crate) fn ran(&self, id: &TaskId) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The first fingerprint; a driver whose engine does not answer is an error.
    pub(crate) async fn fingerprint(&self) -> Result<Fingerprint, Failure> {
        judged(self.call(|client| async move { first_fingerprint(&client).await }).await)
    }

    /// Leaves the process to others, who find it so.
    pub(crate) fn leave(self) -> Reattach {
        self.keeper.abort();
        self.current.borrow().reattach_config().clone()
    }

    /// Ends the process. No task runs any more.
    pub(crate) async fn end(self) {
        self.keeper.abort();
        // The keeper's copy goes with it.
        let _aborted = self.keeper.await;
        let client = self.current.borrow().clone();
        drop(self.current);
        if let Some(client) = Arc::into_inner(client) {
            // One that does not let go in time is ended all the same.
            let _let_go = client.shutdown().await;
            client.kill().await;
        }
    }
}

/// A process that an earlier agent started; `None` where it is gone, or about to be.
async fn find(reattach: Reattach) -> Result<Option<DriverClient>, Failure> {
    let pid = reattach.pid;
    let Ok(client) = DriverClient::reattach(reattach).await else { return Ok(None) };
    match timeout(PATIENCE, client.info()).await {
        Ok(Ok(_)) => Ok(Some(client)),
        Ok(Err(_)) => Ok(None),
        Err(_) => {
            let message = format!("the job's driver, process {pid}, does not answer within {} s", PATIENCE.as_secs());
            Err(Failure::Engine(format!("{message}\nhint: kill -9 {pid}; its tasks go on")))
        }
    }
}

/// A driver's first fingerprint, where its engine answers.
pub(crate) async fn healthy(driver: &DriverClient) -> Result<Fingerprint, Failure> {
    judged(first_fingerprint(driver).await)
}

async fn first_fingerprint(driver: &DriverClient) -> Result<Option<Fingerprint>, ClientError> {
    use futures_util::StreamExt;
    driver.fingerprint().await?.next().await.transpose()
}

fn judged(fingerprint: Result<Option<Fingerprint>, ClientError>) -> Result<Fingerprint, Failure> {
    let fingerprint = fingerprint.map_err(|error| Failure::Engine(error.to_string()))?;
    let fingerprint = fingerprint.ok_or_else(|| Failure::Engine("the driver told no fingerprint".to_owned()))?;
    if fingerprint.health == nomad_plugin::driver::Health::Healthy {
        return Ok(fingerprint);
    }
    Err(no_engine(&fingerprint.description))
}

/// The engine does not answer.
pub(crate) fn no_engine(description: &str) -> Failure {
    let hint = if description.contains("ermission denied") {
        "run as root, or join the group docker"
    } else {
        "start dockerd, or set DOCKER_HOST to where it listens"
    };
    Failure::Engine(format!("{description}\nhint: {hint}"))
}

async fn keep(
    launcher: Launcher,
    current: watch::Sender<Arc<DriverClient>>,
    running: Arc<Mutex<BTreeMap<TaskId, TaskHandle>>>,
    on_new: OnNew,
) {
    loop {
        let client = current.borrow().clone();
        client.exited().await;
        drop(client);
        report::note("the driver's process has ended; starting another, tasks go on");
        let mut pause = FIRST_PAUSE;
        let client = loop {
            match launcher.launch().await {
                Ok(client) => break client,
                Err(failure) => report::error(&failure.to_string()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        on_new(client.reattach_config());
        let handles = running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        while let Err(error) = take_over(&client, &handles).await {
            report::note(&format!("tasks are taken over once that is possible: {error}"));
            tokio::select! {
                () = client.exited() => break,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
        // From its first fingerprint on a driver looks after what others left: images, containers, ...
        let _the_next_start_tells_what_is_wrong = first_fingerprint(&client).await;
        current.send_replace(Arc::new(client));
    }
}

/// Hands tasks over to a process. The error is that it cannot take one for now: it is still to be asked again.
async fn take_over(client: &DriverClient, running: &BTreeMap<TaskId, TaskHandle>) -> Result<(), DriverError> {
    let mut result = Ok(());
    for (id, handle) in running {
        match client.recover_task(handle.clone()).await {
            // A process that dies meanwhile is followed by another one, which is asked the same.
            Ok(()) | Err(ClientError::Transport(_)) => {}
            Err(ClientError::Driver(error)) if error.recoverability == Recoverability::Recoverable => {
                result = Err(error);
            }
            Err(error) => report::note(&format!("failed to take over {id}: {error}")),
        }
    }
    result
}
