//! Drives any driver binary over the plugin protocol against a real dockerd, as a Nomad agent does.
//!
//! The driver is `LONGSHORE_DRIVER`, or the one that this workspace builds. Everything that is made carries the label
//! `longshore.test`, and is gone when a [`Fixture`] is.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

pub mod docker;
pub mod dockerd;
pub mod fault_proxy;
pub mod faulty_registry;
pub mod fields;
pub mod hcl;
pub mod holder;
pub mod http;
pub mod lines;
pub mod messages;
pub mod mounts;
pub mod peer;
pub mod pipes;
pub mod registry;
pub mod relay;
mod task;
pub mod token_service;
pub mod user;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures_util::{Stream, StreamExt};
use nomad_plugin::{
    client::{ClientError, DriverClient, LaunchOptions},
    driver::{DriverError, Force, SetConfig, StartedTask, TaskEvent},
    id::TaskId,
    msgpack::{Value, encode},
};
pub use task::{Started, Task};
use user::User;
pub use wait::{DEADLINE, until, until_within};

/// Waits for an event; fails when none comes within [`DEADLINE`].
pub async fn event_that(
    events: &mut (impl Stream<Item = Result<TaskEvent, ClientError>> + Unpin),
    what: &str,
    is_it: impl Fn(&TaskEvent) -> bool,
) -> TaskEvent {
    let found = async {
        loop {
            let event = events.next().await.expect("an event").expect("the driver answers");
            if is_it(&event) {
                break event;
            }
        }
    };
    tokio::time::timeout(*DEADLINE, found).await.unwrap_or_else(|_| panic!("no event {what:?}"))
}

/// The label of everything that tests make.
pub const LABEL: &str = "longshore.test";

/// The image that tests run: busybox.
pub fn image() -> String {
    std::env::var("LONGSHORE_TEST_IMAGE").unwrap_or_else(|_| "longshore-test/busybox:1".to_owned())
}

/// The driver under test.
pub fn driver_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LONGSHORE_DRIVER") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("nomad-driver-docker")
}

/// Text as a configuration's value.
pub fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Texts as a configuration's value.
pub fn texts(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(|item| text(item)).collect())
}

/// An object as a configuration's value.
pub fn object(fields: &[(&str, Value)]) -> Value {
    Value::Map(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// A running driver with a directory for allocations.
pub struct Fixture {
    /// The driver.
    pub driver: DriverClient,
    /// What it logged.
    pub log: Arc<Mutex<Vec<String>>>,
    remains: Remains,
    directory: tempfile::TempDir,
    launch: Launch,
    tasks: Mutex<Vec<TaskId>>,
}

/// What a test that fails leaves: the driver's process and its containers. They go with this.
struct Remains {
    directory: PathBuf,
    program: PathBuf,
    pid: i32,
}

impl Drop for Remains {
    fn drop(&mut self) {
        let running = std::fs::read_link(format!("/proc/{}/exe", self.pid));
        if running.is_ok_and(|program| program == self.program) {
            kill([self.pid]);
        }
        for container in docker::containers_of(&self.directory) {
            docker::docker(&["rm", "--force", "--volumes", &container]);
        }
        for place in mounts::below(&self.directory).iter().rev() {
            let _detached_with_another = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

impl Fixture {
    /// Starts the driver with the default configuration.
    pub async fn start() -> Self {
        Self::with(object(&[]), &[]).await
    }

    /// Starts the driver with a configuration and additions to its environment.
    pub async fn with(plugin_config: Value, env: &[(&str, &str)]) -> Self {
        Self::launched(plugin_config, env, None).await
    }

    /// Starts the driver as another user, who owns the driver's program and all directories.
    pub async fn as_user(user: User, env: &[(&str, &str)]) -> Self {
        Self::launched(object(&[]), env, Some(user)).await
    }

    async fn launched(plugin_config: Value, env: &[(&str, &str)], user: Option<User>) -> Self {
        let directory = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap();
        let mut program = driver_binary();
        if let Some(user) = &user {
            // The way to where it was built may be closed to others. It is copied by a process of its own: a descriptor
            // of ours that writes would be in every child that another test starts meanwhile, and a busy text is not run.
            let built = std::mem::replace(&mut program, directory.path().join("docker"));
            assert!(std::process::Command::new("cp").args([&built, &program]).status().unwrap().success());
            user.own(directory.path());
        }
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let launch = Launch { program, user, env, plugin_config };
        let log = Arc::default();
        let driver = launch.driver(directory.path(), &log).await;
        let (pid, program) = (driver.reattach_config().pid, launch.program.clone());
        let remains = Remains { directory: directory.path().to_owned(), program, pid };
        Self { driver, log, remains, directory, launch, tasks: Mutex::default() }
    }

    /// Starts the driver with a `config` block of an agent's configuration, as the agent sends it.
    pub async fn configured(config: &str) -> Self {
        let mut fixture = Self::start().await;
        let refused = fixture.configure(config).await.err();
        assert_eq!(refused, None);
        fixture
    }

    /// Configures the driver again; returns its error, if it has one.
    pub async fn configure(&mut self, config: &str) -> Result<(), String> {
        let schema = self.driver.config_schema().await.unwrap();
        self.launch.plugin_config = hcl::decoded(config, &schema);
        let config = set_config(&self.launch.plugin_config, self.directory.path());
        self.driver.set_config(config).await.map_err(|error| error.to_string())
    }

    /// A task that runs a shell command, with options of a job file's `config` block.
    pub async fn job(&self, name: &str, script: &str, config: &str) -> Task {
        let mut task = self.task(name, script);
        let schema = self.driver.task_config_schema().await.unwrap();
        let image = if config.starts_with("image ") { String::new() } else { format!("image = {:?}\n", image()) };
        let Value::Map(decoded) = hcl::decoded(&format!("{image}{config}"), &schema) else {
            panic!("a task's options are an object")
        };
        let mut options = std::mem::take(&mut task.options);
        for (name, value) in decoded {
            let unset = matches!(value, Value::Null) || value == Value::List(Vec::new());
            match (options.get_mut(&name), value) {
                (Some(_), _) if unset => {}
                // The label that identifies the container is kept.
                (Some(Value::List(ours)), Value::List(theirs)) if name == "labels" => ours.extend(theirs),
                (_, value) => {
                    options.insert(name, value);
                }
            }
        }
        task.set(options);
        task
    }

    /// Starts a task that must be refused; why it is.
    pub async fn refused(&self, task: &Task) -> DriverError {
        match self.driver.start_task(task.config.clone()).await {
            Err(ClientError::Driver(error)) => error,
            other => panic!("it was not refused: {:?}", other.map(|started| started.handle.version)),
        }
    }

    /// Runs a task to its end; what it wrote.
    pub async fn output(&self, task: &Task) -> String {
        let started = self.run(task).await;
        self.driver.wait_task(started.id).await.unwrap();
        task.pipes.stdout.text()
    }

    /// Where the fixture keeps its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills the driver's process with SIGKILL and starts another. Tasks are not recovered.
    pub async fn kill_and_start_again(&mut self) {
        self.kill();
        self.start_again().await;
    }

    /// Kills the driver's process with SIGKILL.
    pub fn kill(&self) {
        kill([self.driver.reattach_config().pid]);
    }

    /// The environment that the next process of the driver gets in addition to the test's.
    pub fn set_environment(&mut self, env: &[(&str, &str)]) {
        self.launch.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// Starts another process of the driver once the one that was killed has ended. Tasks are not recovered.
    pub async fn start_again(&mut self) {
        self.driver.exited().await;
        self.driver = self.launch.driver(self.directory.path(), &self.log).await;
        self.remains.pid = self.driver.reattach_config().pid;
    }

    /// A task that runs a shell command, with its directories and pipes; not started yet.
    pub fn task(&self, name: &str, script: &str) -> Task {
        self.task_of(&uuid::Uuid::new_v4().to_string(), name, script)
    }

    /// The same, in the allocation of another task.
    pub fn task_beside(&self, other: &Task, name: &str, script: &str) -> Task {
        self.task_of(other.config.alloc_id.as_str(), name, script)
    }

    fn task_of(&self, alloc_id: &str, name: &str, script: &str) -> Task {
        let options = [("command", text("/bin/sh")), ("args", texts(&["-c", script]))];
        let task = Task::new(self.directory.path(), alloc_id, name, &options);
        if let Some(user) = &self.launch.user {
            user.own(&task.alloc_dir());
        }
        task
    }

    /// Starts a task, which must start.
    pub async fn run(&self, task: &Task) -> Started {
        self.attempt(task).await.unwrap_or_else(|error| panic!("{error}\n{:?}", self.log))
    }

    /// Starts a task, if the driver and the engine let it. It is destroyed in the end.
    pub async fn attempt(&self, task: &Task) -> Result<Started, ClientError> {
        let StartedTask { handle, network } = self.driver.start_task(task.config.clone()).await?;
        self.tasks.lock().unwrap().push(task.config.id.clone());
        Ok(Started { id: task.config.id.clone(), address: network.addr, handle })
    }

    /// Destroys all tasks and ends the driver.
    pub async fn end(self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        for task in tasks {
            // A test may have destroyed it.
            let _absent = self.driver.destroy_task(task, Force::Yes).await;
        }
        self.driver.shutdown().await.unwrap();
        self.driver.kill().await;
        assert_eq!(docker::containers_of(self.directory.path()), Vec::<String>::new(), "containers are left");
        assert_eq!(mounts::below(self.directory.path()), Vec::<PathBuf>::new(), "mounts are left");
    }
}

/// How the driver is started, each time.
struct Launch {
    program: PathBuf,
    user: Option<User>,
    env: Vec<(String, String)>,
    plugin_config: Value,
}

impl Launch {
    async fn driver(&self, directory: &Path, log: &Arc<Mutex<Vec<String>>>) -> DriverClient {
        let sink = log.clone();
        let (program, args) =
            self.user.as_ref().map_or_else(|| (self.program.clone(), Vec::new()), |user| user.command(&self.program));
        let options = LaunchOptions {
            program,
            args,
            env: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            socket_dir: Some(directory.to_owned()),
            start_timeout: *DEADLINE,
            log: Arc::new(move |line| sink.lock().unwrap().push(format!("{line:?}"))),
        };
        let driver = DriverClient::launch(options).await.unwrap();
        driver.set_config(set_config(&self.plugin_config, directory)).await.unwrap();
        driver.init().await.unwrap();
        driver
    }
}

/// A configuration on its way to the driver. What the driver keeps, it keeps with the test's files.
fn set_config(config: &Value, directory: &Path) -> SetConfig {
    let mut config = config.clone();
    if let Value::Map(options) = &mut config
        && options.get("state_dir").is_none_or(|directory| *directory == Value::Null)
    {
        options.insert("state_dir".to_owned(), text(&directory.join("state").display().to_string()));
    }
    SetConfig { msgpack: encode(&config), nomad: None, api_version: "v0.1.0".into() }
}

/// Sends a signal to a process of the test's own. [`kill`] is what ends one.
pub fn signal(pid: i32, name: &str) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let signal = match name {
        "TERM" => rustix::process::Signal::TERM,
        "INT" => rustix::process::Signal::INT,
        "STOP" => rustix::process::Signal::STOP,
        "CONT" => rustix::process::Signal::CONT,
        other => panic!("no signal {other}"),
    };
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Kills processes of the test's own with SIGKILL, all at once, and waits until each has ended: until then it holds its files
/// open.
pub fn kill<const COUNT: usize>(pids: [i32; COUNT]) {
    let opened = pids.map(|pid| {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
    });
    for process in &opened {
        rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL).unwrap();
    }
    let patience = rustix::event::Timespec::try_from(*DEADLINE).unwrap();
    for (process, pid) in opened.iter().zip(pids) {
        let mut ended = [rustix::event::PollFd::new(process, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut ended, Some(&patience)), Ok(1), "process {pid} has not ended");
    }
}
