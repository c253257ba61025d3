//! The driver: each call goes to the part that does it.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use nomad_plugin::{
    driver::{
        BoxStream, Capabilities, CreatedNetwork, Driver, DriverError, ExecEvent, ExecInput, ExecOutput, ExecSetup,
        Fingerprint, Force, FsIsolation, InspectedTask, MountConfigs, NetworkIsolation, NetworkMode, PluginInfo,
        SetConfig, StartedTask, TaskConfig, TaskEvent, TaskHandle, TaskUsage, Topology, WaitResult,
    },
    hclspec::Spec,
    id::{AllocId, TaskId},
};

use crate::{
    background::{Background, Finishing},
    config::{self, PluginConfig},
    container::{self, Machine},
    engine::{ContainerWatch, Endpoint, Engine},
    events::TaskEvents,
    exec, fingerprint,
    image::Images,
    image_service::DriverImages,
    made::Made,
    network::{self, Networks},
    node::Node,
    processors::Processors,
    reaper,
    task::{self, Surroundings, TaskStore, logging::Logs},
};

type Answer<T> = Result<T, DriverError>;

/// How long an orderly end may take; hosts give 2 s.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// The Docker task driver.
pub struct DockerDriver {
    tasks: TaskStore,
    /// Replaced as a whole by each configuration; tasks keep the engine that runs them.
    surroundings: Arc<Mutex<Surroundings>>,
    /// Looks for dangling containers from the first fingerprint on: a process that only tells its schema removes nothing.
    reaper: OnceLock<Background>,
    seen: fingerprint::Seen,
}

impl Default for DockerDriver {
    fn default() -> Self {
        let engine = Engine::new(Endpoint::default());
        let events = TaskEvents::default();
        let surroundings = Surroundings {
            plugin: Arc::default(),
            images: Arc::new(Images::new(engine.clone(), events.clone())),
            networks: Networks::default(),
            node: Node::default(),
            exits: Arc::new(ContainerWatch::new(engine.clone())),
            cpusets: Arc::default(),
            engine,
            machine: machine(None),
            logs: Logs::default(),
            events,
            finishing: Finishing::default(),
        };
        Self {
            tasks: TaskStore::default(),
            surroundings: Arc::new(Mutex::new(surroundings)),
            reaper: OnceLock::new(),
            seen: fingerprint::Seen::default(),
        }
    }
}

impl DockerDriver {
    /// What tells of this driver's images.
    pub fn images(&self) -> DriverImages {
        let surroundings = self.surroundings.clone();
        DriverImages::new(move || current(&surroundings), self.tasks.clone())
    }

    fn around(&self) -> Surroundings {
        current(&self.surroundings)
    }
}

fn current(surroundings: &Mutex<Surroundings>) -> Surroundings {
    surroundings.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The machine's processors: what the agent says of them, or else what the kernel does.
fn machine(topology: Option<&Topology>) -> Machine {
    let speed = |core: &nomad_plugin::driver::TopologyCore| {
        [core.base_speed, core.max_speed, core.guess_speed].into_iter().find(|speed| *speed > 0).unwrap_or_default()
    };
    let total_mhz = topology.map_or(0, |topology| match topology.override_total_compute {
        0 => topology.cores.iter().map(speed).sum(),
        total => total,
    });
    let cores = topology.map_or(0, |topology| u32::try_from(topology.cores.len()).unwrap_or(u32::MAX));
    let (total_mhz, cores) = if total_mhz > 0 && cores > 0 {
        (total_mhz, cores)
    } else {
        let Processors { count, total_mhz } = Processors::read();
        (total_mhz, count)
    };
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
    Machine { total_mhz, cores, cpus, ..Machine::default() }
}

impl Driver for DockerDriver {
    fn info(&self) -> PluginInfo {
        PluginInfo { name: "docker".into(), version: "0.1.0".into(), api_versions: vec!["v0.1.0".into()] }
    }

    fn config_schema(&self) -> Spec {
        config::plugin_schema()
    }

    async fn set_config(&self, config: SetConfig) -> Answer<()> {
        let plugin = PluginConfig::parse(&config.msgpack).map_err(|errors| DriverError::new(errors.to_string()))?;
        for doubt in container::doubts(&plugin) {
            tracing::warn!("{doubt}");
        }
        let mut around = self.surroundings.lock().unwrap_or_else(PoisonError::into_inner);
        if plugin.endpoint != around.plugin.endpoint {
            around.engine = Engine::new(plugin.endpoint.clone());
            around.images = Arc::new(Images::new(around.engine.clone(), around.events.clone()));
            around.exits = Arc::new(ContainerWatch::new(around.engine.clone()));
        }
        if let Some(nomad) = &config.nomad {
            around.machine = machine(nomad.topology.as_ref());
        }
        around.images.configure(&plugin);
        around.plugin = Arc::new(plugin);
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
            disable_log_collection: self.around().plugin.disable_log_collection,
            dynamic_workload_users: false,
        })
    }

    async fn init(&self) -> Answer<()> {
        Ok(())
    }

    async fn fingerprint(&self) -> Answer<BoxStream<Fingerprint>> {
        self.reaper.get_or_init(|| {
            let (surroundings, tasks) = (self.surroundings.clone(), self.tasks.clone());
            Background::persevere("the search for dangling containers", move || {
                let surroundings = surroundings.clone();
                reaper::reap(move || current(&surroundings), tasks.clone())
            })
        });
        let around = self.around();
        around.images.tidy(&around.plugin.state_dir);
        Ok(fingerprint::stream(around.engine, around.plugin, self.seen.clone()))
    }

    async fn recover_task(&self, handle: TaskHandle) -> Answer<()> {
        task::recover(&self.around(), &self.tasks, handle).await
    }

    async fn start_task(&self, task: TaskConfig) -> Answer<StartedTask> {
        task::start(&self.around(), &self.tasks, task).await
    }

    async fn wait_task(&self, id: TaskId) -> Answer<WaitResult> {
        Ok(self.tasks.get(&id)?.exited().await.result)
    }

    async fn stop_task(&self, id: TaskId, timeout: Duration, signal: String) -> Answer<()> {
        if self.tasks.give_up(&id) {
            return Ok(());
        }
        self.tasks.get(&id)?.stop(timeout, &signal).await
    }

    async fn destroy_task(&self, id: TaskId, force: Force) -> Answer<()> {
        if self.tasks.give_up(&id) {
            return Ok(());
        }
        let task = match self.tasks.get(&id) {
            Ok(task) => task,
            Err(unknown) => {
                if force == Force::Yes {
                    task::end_left_over(&self.around(), &self.tasks, &id).await?;
                }
                return Err(unknown);
            }
        };
        let plugin = self.around().plugin;
        task.destroy(force, &plugin.gc).await?;
        if plugin.gc.container {
            Made::new(&plugin.state_dir).forget(&task.container);
        }
        self.tasks.remove(&id);
        let around = self.around();
        around.logs.release(&task.container).await;
        around.logs.hide(&around, &self.tasks, &task.config).await;
        Ok(())
    }

    async fn inspect_task(&self, id: TaskId) -> Answer<InspectedTask> {
        self.tasks.get(&id)?.inspect().await
    }

    async fn task_stats(&self, id: TaskId, interval: Duration) -> Answer<BoxStream<Answer<TaskUsage>>> {
        self.tasks.get(&id)?.stats(interval)
    }

    async fn task_events(&self) -> Answer<BoxStream<TaskEvent>> {
        Ok(self.around().events.subscribe().boxed())
    }

    async fn signal_task(&self, id: TaskId, signal: String) -> Answer<()> {
        self.tasks.get(&id)?.signal(&signal).await
    }

    async fn exec_task(&self, id: TaskId, command: Vec<String>, timeout: Duration) -> Answer<ExecOutput> {
        let task = self.tasks.get(&id)?;
        exec::run(&task.engine, &task.container, command, timeout).await
    }

    async fn exec_task_streaming(
        &self,
        setup: ExecSetup,
        input: BoxStream<ExecInput>,
    ) -> Answer<BoxStream<Answer<ExecEvent>>> {
        let task = self.tasks.get(&setup.task_id)?;
        exec::run_streaming(&task.engine, &self.around().finishing, &task.container, setup, input).await
    }

    async fn create_network(&self, alloc: AllocId, hostname: String) -> Answer<CreatedNetwork> {
        // It is large, for what the engine knows of a container is.
        Box::pin(network::create(&self.around(), &self.tasks, &alloc, &hostname)).await
    }

    async fn destroy_network(&self, alloc: AllocId, spec: Option<NetworkIsolation>) -> Answer<()> {
        network::destroy(&self.around(), &alloc, spec).await
    }

    async fn shutdown(&self) -> Answer<()> {
        // Containers go on, and so do commands in them; what was begun to be undone has its time.
        let _commands_go_on = tokio::time::timeout(SHUTDOWN, self.around().finishing.finished()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nomad_plugin::driver::TopologyCore;

    use super::*;

    #[test]
    fn the_machine_is_the_agents_where_it_has_speeds_and_else_the_kernels() {
        let core = |base_speed, max_speed| TopologyCore { base_speed, max_speed, ..TopologyCore::default() };
        let told = Topology { cores: vec![core(2000, 3000), core(0, 1000)], ..Topology::default() };
        let by_operator = Topology { override_total_compute: 500, ..told.clone() };
        let empty = Topology::default();
        let without_speeds = Topology { cores: vec![core(0, 0)], ..Topology::default() };
        let by_kernel = Processors::read();

        let of = |topology| {
            let machine = machine(topology);
            (machine.total_mhz, machine.cores)
        };

        assert_eq!(of(Some(&told)), (3000, 2));
        assert_eq!(of(Some(&by_operator)), (500, 2));
        // A virtual machine's speed changes from moment to moment.
        assert_eq!(of(None).1, by_kernel.count);
        assert_eq!(of(Some(&empty)).1, by_kernel.count);
        assert_eq!(
            (of(Some(&without_speeds)).0 > 0, of(None).0 > 0),
            (by_kernel.total_mhz > 0, by_kernel.total_mhz > 0)
        );
    }
}
