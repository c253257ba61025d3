//! A driver with a scripted engine, and tasks for it.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use fake_engine::{Container, FakeEngine, Image, Reply, Request};
use futures_util::StreamExt;
use nomad_driver_docker::DockerDriver;
use nomad_plugin::{
    driver::{
        AllocatedResources, BoxStream, Driver, DriverError, LinuxResources, NomadConfig, PortMapping, Resources,
        SetConfig, StartedTask, TaskConfig, TaskEvent, WaitResult,
    },
    msgpack::{Value, encode},
};
use tempfile::TempDir;

pub(crate) const IMAGE: &str = "busybox:1";
pub(crate) const ALLOC: &str = "5a3f0f4e-0000-4000-8000-00000000000a";
pub(crate) const NODE: &str = "b5a5ec2f-0000-4000-8000-00000000000b";

/// How long a test waits for what should happen.
const DEADLINE: Duration = Duration::from_secs(600);

/// A driver, its engine, and its host's directory.
pub(crate) struct Case {
    pub(crate) engine: FakeEngine,
    pub(crate) driver: DockerDriver,
    directory: TempDir,
    plugin: BTreeMap<String, Value>,
}

pub(crate) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

impl Case {
    /// A driver whose engine has an image.
    pub(crate) async fn new() -> Self {
        Self::with([]).await
    }

    /// Like [`new`](Self::new), with plugin options.
    pub(crate) async fn with<const N: usize>(options: [(&str, Value); N]) -> Self {
        Self::with_options(options.map(|(name, value)| (name.to_owned(), value)).into()).await
    }

    /// Like [`with`](Self::with), for any number of options.
    pub(crate) async fn with_options(options: BTreeMap<String, Value>) -> Self {
        let engine = FakeEngine::start();
        engine.add_image(Image::named(IMAGE));
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let mut plugin = BTreeMap::from([
            ("endpoint".to_owned(), text(&engine.address())),
            ("state_dir".to_owned(), text(state.to_str().unwrap())),
            ("disable_log_collection".to_owned(), Value::Bool(true)),
            // Sources of mounts are passed by name, so root is not required.
            ("volumes".to_owned(), object([("enabled", Value::Bool(true))])),
        ]);
        plugin.extend(options);
        let driver = configured(&plugin).await;
        Self { engine, driver, directory, plugin }
    }

    /// Another process of the driver, with the same configuration.
    pub(crate) async fn another_driver(&self) -> DockerDriver {
        configured(&self.plugin).await
    }

    /// Configures the driver again, with other options.
    pub(crate) async fn configure<const N: usize>(&mut self, options: [(&str, Value); N]) {
        self.try_configure(options).await.unwrap();
    }

    /// Like [`configure`](Self::configure), but it may fail.
    pub(crate) async fn try_configure<const N: usize>(
        &mut self,
        options: [(&str, Value); N],
    ) -> Result<(), DriverError> {
        let mut plugin = self.plugin.clone();
        plugin.extend(options.map(|(name, value)| (name.to_owned(), value)));
        self.driver.set_config(set_config(&plugin)).await?;
        self.plugin = plugin;
        Ok(())
    }

    /// Kills the driver's process and starts another one.
    pub(crate) async fn kill_driver(&mut self) {
        self.driver = DockerDriver::default();
        self.driver = self.another_driver().await;
    }

    /// A task as an agent configures it.
    pub(crate) fn task(&self, name: &str) -> TaskConfig {
        self.task_with(name, [])
    }

    /// Like [`task`](Self::task), with job options.
    pub(crate) fn task_with<const N: usize>(&self, name: &str, options: [(&str, Value); N]) -> TaskConfig {
        self.task_with_options(name, options.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Like [`task_with`](Self::task_with), for any number of options.
    pub(crate) fn task_with_options(&self, name: &str, options: BTreeMap<String, Value>) -> TaskConfig {
        let alloc_dir = self.directory.path().join("allocs").join(ALLOC);
        for part in ["alloc/logs", "alloc/data", "alloc/tmp"] {
            fs::create_dir_all(alloc_dir.join(part)).unwrap();
        }
        for part in ["local", "secrets", "tmp"] {
            fs::create_dir_all(alloc_dir.join(name).join(part)).unwrap();
        }
        let mut all = BTreeMap::from([("image".to_owned(), text(IMAGE)), ("command".to_owned(), text("serve"))]);
        all.extend(options);
        let linux = LinuxResources {
            cpu_shares: 100,
            percent_ticks: 0.1,
            memory_limit_bytes: 128 << 20,
            ..LinuxResources::default()
        };
        let allocated = AllocatedResources { cpu_shares: 100, memory_mb: 128, ..AllocatedResources::default() };
        let logs = |end: &str| alloc_dir.join(format!("alloc/logs/.{name}.{end}.fifo")).display().to_string();
        TaskConfig {
            id: format!("{ALLOC}/{name}/0000000a").into(),
            name: name.to_owned(),
            driver_config: encode(&Value::Map(all)),
            env: [("NOMAD_TASK_NAME".to_owned(), name.to_owned())].into(),
            resources: Some(Resources { allocated: Some(allocated), linux: Some(linux), ports: Vec::new() }),
            stdout_path: logs("stdout"),
            stderr_path: logs("stderr"),
            alloc_dir: alloc_dir.display().to_string(),
            alloc_id: ALLOC.into(),
            job_name: "job".into(),
            job_id: "job".into(),
            task_group_name: "group".into(),
            namespace: "default".into(),
            node_name: "node".into(),
            node_id: NODE.into(),
            ..TaskConfig::default()
        }
    }

    /// Like [`task`](Self::task), with a port of the group's network.
    pub(crate) fn task_with_port(&self, name: &str, port: i32) -> TaskConfig {
        let mut task = self.task_with(name, [("ports", Value::List(vec![text("http")]))]);
        let mapping = PortMapping { label: "http".into(), value: port, to: 80, host_ip: "0.0.0.0".into() };
        task.resources.as_mut().unwrap().ports.push(mapping);
        task
    }

    /// Starts a task, which must succeed; its container is running.
    pub(crate) async fn start(&self, task: &TaskConfig) -> StartedTask {
        self.driver.start_task(task.clone()).await.unwrap()
    }

    /// The container of a task.
    pub(crate) fn container_of(&self, task: &TaskConfig) -> Container {
        self.engine.container(&container_name(task)).unwrap()
    }

    /// How a task exited.
    pub(crate) async fn wait(&self, task: &TaskConfig) -> WaitResult {
        let end = tokio::time::timeout(DEADLINE, self.driver.wait_task(task.id.clone())).await;
        end.expect("the task ends").unwrap()
    }

    /// The names of all containers.
    pub(crate) fn names(&self) -> Vec<String> {
        self.engine.containers().into_iter().map(|container| container.name).collect()
    }

    /// The driver's state directory.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The networks that the driver has recorded.
    pub(crate) fn recorded_networks(&self) -> Vec<String> {
        let engines = fs::read_dir(self.state_dir().join("networks")).into_iter().flatten().flatten();
        let records = engines.flat_map(|engine| fs::read_dir(engine.path()).into_iter().flatten().flatten());
        records.map(|record| record.file_name().into_string().unwrap()).collect()
    }

    /// The recorded requests that match.
    pub(crate) fn requests(&self, requests: &str) -> Vec<Request> {
        self.engine.requests(requests)
    }

    /// Waits until the driver has subscribed to the engine's events.
    pub(crate) async fn subscribed(&self) {
        self.subscribed_times(1).await;
    }

    /// Waits until the driver has subscribed so many times.
    pub(crate) async fn subscribed_times(&self, times: usize) {
        self.engine.asked_times("GET /events", times).await;
        // It looks at its containers then.
        self.engine.quiet().await;
    }

    /// Lets time pass, with all its effects.
    pub(crate) async fn pass(&self, time: Duration) {
        const SPAN: Duration = Duration::from_secs(20);
        let mut left = time;
        while !left.is_zero() {
            let span = left.min(SPAN);
            tokio::time::advance(span).await;
            self.engine.quiet().await;
            left -= span;
        }
    }

    /// The events of tasks from now on.
    pub(crate) async fn task_events(&self) -> BoxStream<TaskEvent> {
        self.driver.task_events().await.unwrap()
    }
}

/// Each way in which a call fails.
pub(crate) fn faults() -> [(&'static str, Reply); 8] {
    [
        ("closed before the effect", Reply::drop_connection()),
        ("an error without effect", Reply::error(500, "no")),
        ("closed after the effect", Reply::lose_answer()),
        ("an error after the effect", Reply::error_after(500, "no")),
        ("cut in its answer", Reply::cut_body()),
        ("an answer that is none", Reply::garble()),
        ("no answer", Reply::hang()),
        ("no answer after the effect", Reply::hang_after()),
    ]
}

/// Runs a test of many cases on a paused clock.
pub(crate) fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(test)
}

async fn configured(plugin: &BTreeMap<String, Value>) -> DockerDriver {
    let driver = DockerDriver::default();
    driver.set_config(set_config(plugin)).await.unwrap();
    driver
}

/// As an agent sends it.
fn set_config(plugin: &BTreeMap<String, Value>) -> SetConfig {
    let msgpack = encode(&Value::Map(plugin.clone()));
    SetConfig { msgpack, nomad: Some(NomadConfig::default()), api_version: "v0.1.0".into() }
}

/// The name of a task's container.
pub(crate) fn container_name(task: &TaskConfig) -> String {
    format!("{}-{}", task.name, task.alloc_id)
}

/// The first event that contains a text.
pub(crate) async fn event(events: &mut BoxStream<TaskEvent>, part: &str) -> TaskEvent {
    let found = async {
        loop {
            let event = events.next().await.unwrap();
            if event.message.contains(part) {
                return event;
            }
        }
    };
    tokio::time::timeout(DEADLINE, found).await.expect(part)
}

/// The error of a call that must fail.
pub(crate) fn failed<T>(answer: Result<T, DriverError>) -> DriverError {
    match answer {
        Ok(_) => panic!("the call must fail"),
        Err(error) => error,
    }
}
