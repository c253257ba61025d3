//! A driver of nothing: it answers every call with what it was asked. The tests of the protocol start it.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use futures_util::{StreamExt, stream};
use nomad_plugin::{
    driver::{
        Attribute, BoxStream, Capabilities, CpuUsage, CreatedNetwork, Driver, DriverError, ExecEvent, ExecInput,
        ExecOutput, ExecSetup, ExitResult, Fingerprint, Force, FsIsolation, Health, InspectedTask, MemoryUsage,
        MountConfigs, NetworkIsolation, NetworkMode, NetworkOverride, PluginInfo, SetConfig, StartedTask, TaskConfig,
        TaskEvent, TaskHandle, TaskState, TaskUsage, WaitResult,
    },
    hclspec::{Spec, Type},
    id::{AllocId, TaskId},
};

struct Echo;

type Answer<T> = Result<T, DriverError>;

/// What a call without an answer of its own was asked, as an error.
fn asked(what: &impl std::fmt::Debug) -> DriverError {
    DriverError::new(format!("{what:?}"))
}

impl Driver for Echo {
    fn info(&self) -> PluginInfo {
        PluginInfo { name: "echo".into(), version: "0.1.0".into(), api_versions: vec!["v0.1.0".into()] }
    }

    fn config_schema(&self) -> Spec {
        Spec::block("gc", Spec::object([("image", Spec::attr("image", Type::Bool).or("true"))]))
    }

    async fn set_config(&self, config: SetConfig) -> Answer<()> {
        if config.nomad.is_none() { Ok(()) } else { Err(asked(&config)) }
    }

    fn task_config_schema(&self) -> Spec {
        Spec::Object(BTreeMap::from([
            ("image".to_owned(), Spec::required_attr("image", Type::String)),
            ("labels".to_owned(), Spec::attr("labels", Type::List(Box::new(Type::Map(Box::new(Type::String)))))),
            ("mount".to_owned(), Spec::block_list("mount", Spec::Array(vec![Spec::block_attrs("x", Type::Number)]))),
        ]))
    }

    async fn capabilities(&self) -> Answer<Capabilities> {
        Ok(Capabilities {
            send_signals: true,
            exec: true,
            fs_isolation: FsIsolation::Image,
            network_isolation_modes: vec![NetworkMode::Host, NetworkMode::Group, NetworkMode::Task],
            must_create_network: true,
            mount_configs: MountConfigs::Any,
            disable_log_collection: true,
            dynamic_workload_users: false,
        })
    }

    async fn init(&self) -> Answer<()> {
        Ok(())
    }

    async fn fingerprint(&self) -> Answer<BoxStream<Fingerprint>> {
        let attributes = BTreeMap::from([
            ("driver.echo".to_owned(), Attribute::Bool(true)),
            ("driver.echo.version".to_owned(), Attribute::String("1".into())),
            ("driver.echo.memory".to_owned(), Attribute::Int(5, "MiB".into())),
            ("driver.echo.load".to_owned(), Attribute::Float(0.5, String::new())),
        ]);
        let fingerprint = Fingerprint { attributes, health: Health::Healthy, description: "Healthy".into() };
        Ok(stream::iter([fingerprint]).chain(stream::pending()).boxed())
    }

    async fn recover_task(&self, handle: TaskHandle) -> Answer<()> {
        Err(asked(&handle))
    }

    async fn start_task(&self, task: TaskConfig) -> Answer<StartedTask> {
        match task.name.as_str() {
            "recoverable" => return Err(DriverError::recoverable("later")),
            "fatal" => return Err(DriverError::fatal("never")),
            _ => {}
        }
        let network =
            NetworkOverride { port_map: [("http".into(), 80)].into(), addr: "10.0.0.2".into(), auto_advertise: true };
        let handle = TaskHandle { version: 1, config: task, state: TaskState::Running, driver_state: vec![1, 2] };
        Ok(StartedTask { handle, network })
    }

    async fn wait_task(&self, id: TaskId) -> Answer<WaitResult> {
        let result = ExitResult { exit_code: 3, signal: 9, oom_killed: true };
        Ok(WaitResult { result, error: format!("waited for {id}") })
    }

    async fn stop_task(&self, id: TaskId, timeout: Duration, signal: String) -> Answer<()> {
        Err(asked(&(id, timeout, signal)))
    }

    async fn destroy_task(&self, id: TaskId, force: Force) -> Answer<()> {
        Err(asked(&(id, force)))
    }

    async fn inspect_task(&self, id: TaskId) -> Answer<InspectedTask> {
        Ok(InspectedTask {
            id,
            name: "web".into(),
            state: TaskState::Running,
            started_at: Some(std::time::UNIX_EPOCH + Duration::from_millis(1500)),
            completed_at: None,
            result: ExitResult::default(),
            attributes: [("container_id".into(), "abc".into())].into(),
            network: NetworkOverride::default(),
        })
    }

    async fn task_stats(&self, _: TaskId, interval: Duration) -> Answer<BoxStream<Answer<TaskUsage>>> {
        let usage = TaskUsage {
            at: std::time::UNIX_EPOCH + interval,
            cpu: CpuUsage {
                percent: Some(12.5),
                throttled_periods: Some(0),
                total_ticks: 250.0,
                ..CpuUsage::default()
            },
            memory: MemoryUsage { rss: Some(1 << 40), swap: Some(0), ..MemoryUsage::default() },
        };
        Ok(stream::iter([Ok(usage), Err(DriverError::recoverable("container stopped"))]).boxed())
    }

    async fn task_events(&self) -> Answer<BoxStream<TaskEvent>> {
        let event = TaskEvent {
            task_id: "a/web/1".into(),
            alloc_id: "a".into(),
            task_name: "web".into(),
            at: std::time::UNIX_EPOCH + Duration::from_secs(7),
            message: "Downloading image".into(),
            annotations: [("image".into(), "busybox:1".into())].into(),
        };
        Ok(stream::iter([event]).chain(stream::pending()).boxed())
    }

    async fn signal_task(&self, id: TaskId, signal: String) -> Answer<()> {
        Err(asked(&(id, signal)))
    }

    async fn exec_task(&self, id: TaskId, command: Vec<String>, timeout: Duration) -> Answer<ExecOutput> {
        let result = ExitResult { exit_code: 7, ..ExitResult::default() };
        Ok(ExecOutput { stdout: command.join(" ").into(), stderr: format!("{id} {timeout:?}").into(), result })
    }

    async fn exec_task_streaming(
        &self,
        setup: ExecSetup,
        input: BoxStream<ExecInput>,
    ) -> Answer<BoxStream<Answer<ExecEvent>>> {
        if setup.command.is_empty() {
            return Err(asked(&setup));
        }
        let echoed = input.take_while(|input| std::future::ready(*input != ExecInput::StdinClosed)).map(|input| {
            Ok(match input {
                ExecInput::Heartbeat => ExecEvent::Stdout("heartbeat".into()),
                ExecInput::Stdin(bytes) => ExecEvent::Stdout(bytes),
                other => ExecEvent::Stderr(format!("{other:?}").into()),
            })
        });
        let result = ExitResult { exit_code: 5, ..ExitResult::default() };
        let end = [ExecEvent::StdoutClosed, ExecEvent::StderrClosed, ExecEvent::Exited(result)];
        Ok(echoed.chain(stream::iter(end.map(Ok))).boxed())
    }

    async fn create_network(&self, alloc: AllocId, hostname: String) -> Answer<CreatedNetwork> {
        let isolation = NetworkIsolation {
            mode: NetworkMode::Group,
            path: format!("/run/netns/{alloc}"),
            labels: [("hostname".into(), hostname)].into(),
            hosts: None,
        };
        Ok(CreatedNetwork { isolation, created: true })
    }

    async fn destroy_network(&self, alloc: AllocId, spec: Option<NetworkIsolation>) -> Answer<()> {
        Err(asked(&(alloc, spec)))
    }

    async fn shutdown(&self) -> Answer<()> {
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match nomad_plugin::server::serve(Echo).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _broken_pipe = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}
