//! The driver: each RPC delegates to the part that implements it.

mod garbage_service;
mod image_service;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use garbage_service::DriverGarbage;
use image_service::DriverImages;
use nomad_plugin::{
    driver::{
        BoxStream, Capabilities, CreatedNetwork, Driver, DriverError, ExecEvent, ExecInput, ExecOutput, ExecSetup,
        Fingerprint, Force, FsIsolation, InspectedTask, MountConfigs, NetworkIsolation, NetworkMode, PluginInfo,
        SetConfig, StartedTask, TaskConfig, TaskEvent, TaskHandle, TaskUsage, WaitResult,
    },
    hclspec::Spec,
    id::{AllocId, TaskId},
};
use tokio::sync::watch;

use crate::{
    config::{self, PluginConfig},
    container, exec, fingerprint,
    machine::Machine,
    process::Process,
    reaper,
    session::Session,
    settings::{Settings, SettingsWriter},
    task::{TaskStore, Tasks},
};
use background::Background;
use engine::Endpoint;

type Answer<T> = Result<T, DriverError>;

/// How long a graceful shutdown may take; hosts allow 2 s.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// The Docker task driver.
pub struct DockerDriver {
    tasks: Tasks,
    settings: SettingsWriter,
    /// The session of the configured endpoint; a new endpoint is a new session. Tasks keep the one that runs them.
    session: watch::Sender<Arc<Session>>,
    /// Former sessions, as long as they have networks.
    former: Mutex<Vec<Arc<Session>>>,
    /// Starts with the first fingerprint: a process that only reports its schema removes nothing.
    reaper: OnceLock<Background>,
    was_healthy: fingerprint::WasHealthy,
}

impl Default for DockerDriver {
    fn default() -> Self {
        let settings = SettingsWriter::new(Settings { machine: Machine::new(None), ..Settings::default() });
        let process = Process::default();
        let session = Session::new(Endpoint::default(), settings.current(), &process);
        Self {
            tasks: Tasks { store: TaskStore::default(), settings: settings.current(), process },
            settings,
            session: watch::Sender::new(Arc::new(session)),
            former: Mutex::default(),
            reaper: OnceLock::new(),
            was_healthy: fingerprint::WasHealthy::default(),
        }
    }
}

impl DockerDriver {
    /// The image service of this driver.
    pub fn images(&self) -> DriverImages {
        DriverImages::new(self.session.subscribe(), self.settings.current(), self.tasks.store.clone())
    }

    /// The garbage service of this driver.
    pub fn garbage(&self) -> DriverGarbage {
        DriverGarbage::new(self.session.subscribe(), self.tasks.clone())
    }

    fn session(&self) -> Arc<Session> {
        self.session.borrow().clone()
    }

    /// The session that has an allocation's network; if none has, the current one.
    fn session_of(&self, alloc: &AllocId) -> Arc<Session> {
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.retain(|session| !session.networks.is_empty());
        former.iter().find(|session| session.networks.has(alloc)).cloned().unwrap_or_else(|| self.session())
    }

    /// Switches to another endpoint.
    fn connect(&self, endpoint: Endpoint) {
        let session = Session::new(endpoint, self.settings.current(), &self.tasks.process);
        if self.reaper.get().is_some() {
            session.images.collect_garbage(self.settings.now().state_dir());
        }
        let former = self.session.send_replace(Arc::new(session));
        self.former.lock().unwrap_or_else(PoisonError::into_inner).push(former);
    }
}

impl Driver for DockerDriver {
    fn info(&self) -> PluginInfo {
        PluginInfo {
            name: "docker".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            api_versions: vec!["v0.1.0".into()],
        }
    }

    fn config_schema(&self) -> Spec {
        config::plugin_schema()
    }

    async fn set_config(&self, config: SetConfig) -> Answer<()> {
        let mut plugin = PluginConfig::parse(&config.msgpack).map_err(|errors| DriverError::new(errors.to_string()))?;
        for warning in container::warnings(&plugin) {
            tracing::warn!("{warning}");
        }
        let before = self.settings.now();
        // The records there identify the owner of containers and images.
        if self.reaper.get().is_some() && plugin.state_dir != before.plugin.state_dir {
            tracing::warn!("a new state_dir takes effect when the plugin restarts");
            plugin.state_dir.clone_from(&before.plugin.state_dir);
        }
        let is_new_endpoint = plugin.endpoint != before.plugin.endpoint;
        let machine = config.nomad.map_or(before.machine, |nomad| Machine::new(nomad.topology.as_ref()));
        self.settings.replace(Settings { plugin, machine });
        let plugin = &self.settings.now().plugin;
        if is_new_endpoint {
            self.connect(plugin.endpoint.clone());
        } else {
            self.session().images.configure(plugin);
        }
        Ok(())
    }

    fn task_config_schema(&self) -> Spec {
        config::task_schema()
    }

    async fn capabilities(&self) -> Answer<Capabilities> {
        Ok(Capabilities {
            send_signals: true,
            exec: true,
            fs_isolation: FsIsolation::Image,
            network_isolation_modes: vec![NetworkMode::Host, NetworkMode::Group, NetworkMode::Task],
            must_create_network: true,
            mount_configs: MountConfigs::Any,
            disable_log_collection: self.settings.now().plugin.disable_log_collection,
            dynamic_workload_users: false,
        })
    }

    async fn init(&self) -> Answer<()> {
        Ok(())
    }

    async fn fingerprint(&self) -> Answer<BoxStream<Fingerprint>> {
        self.reaper.get_or_init(|| {
            let (session, tasks) = (self.session.subscribe(), self.tasks.clone());
            Background::persevere("the search for dangling containers", move || {
                let session = session.clone();
                reaper::reap(tasks.clone(), move || session.borrow().clone())
            })
        });
        self.session().images.collect_garbage(self.settings.now().state_dir());
        Ok(fingerprint::stream(self.session.subscribe(), self.settings.current(), self.was_healthy.clone()))
    }

    async fn recover_task(&self, handle: TaskHandle) -> Answer<()> {
        self.tasks.recover(&self.session(), handle).await
    }

    async fn start_task(&self, task: TaskConfig) -> Answer<StartedTask> {
        Box::pin(self.tasks.start(&self.session(), task)).await
    }

    async fn wait_task(&self, id: TaskId) -> Answer<WaitResult> {
        Ok(self.tasks.store.get(&id)?.exited().await.result)
    }

    async fn stop_task(&self, id: TaskId, timeout: Duration, signal: String) -> Answer<()> {
        if self.tasks.store.give_up(&id) {
            return Ok(());
        }
        self.tasks.store.get(&id)?.stop(timeout, &signal).await
    }

    async fn destroy_task(&self, id: TaskId, force: Force) -> Answer<()> {
        self.tasks.destroy(&self.session(), &id, force).await
    }

    async fn inspect_task(&self, id: TaskId) -> Answer<InspectedTask> {
        self.tasks.store.get(&id)?.inspect().await
    }

    async fn task_stats(&self, id: TaskId, interval: Duration) -> Answer<BoxStream<Answer<TaskUsage>>> {
        self.tasks.store.get(&id)?.stats(interval)
    }

    async fn task_events(&self) -> Answer<BoxStream<TaskEvent>> {
        Ok(self.tasks.process.events.subscribe().boxed())
    }

    async fn signal_task(&self, id: TaskId, signal: String) -> Answer<()> {
        self.tasks.store.get(&id)?.signal(&signal).await
    }

    async fn exec_task(&self, id: TaskId, command: Vec<String>, timeout: Duration) -> Answer<ExecOutput> {
        let task = self.tasks.store.get(&id)?;
        exec::run(&task.engine, &self.tasks.process.cleanup, &task.container, command, timeout).await
    }

    async fn exec_task_streaming(
        &self,
        setup: ExecSetup,
        input: BoxStream<ExecInput>,
    ) -> Answer<BoxStream<Answer<ExecEvent>>> {
        let task = self.tasks.store.get(&setup.task_id)?;
        exec::run_streaming(&task.engine, &self.tasks.process.cleanup, &task.container, setup, input).await
    }

    async fn create_network(&self, alloc: AllocId, hostname: String) -> Answer<CreatedNetwork> {
        // It is large, because an inspected container is.
        Box::pin(self.session_of(&alloc).networks.create(&alloc, &hostname)).await
    }

    async fn destroy_network(&self, alloc: AllocId, spec: Option<NetworkIsolation>) -> Answer<()> {
        self.session_of(&alloc).networks.destroy(&alloc, spec).await
    }

    async fn shutdown(&self) -> Answer<()> {
        // Containers keep running, and so do commands in them; pending cleanup gets its time.
        let _commands_go_on = tokio::time::timeout(SHUTDOWN, self.tasks.process.cleanup.finished()).await;
        Ok(())
    }
}
