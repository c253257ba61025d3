//! Every call, through a real plugin process and back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use nomad_plugin::{
    client::{ClientError, DriverClient, LaunchOptions},
    driver::{
        AllocatedResources, Attribute, Device, Dns, DriverError, ExecEvent, ExecInput, ExecSetup, ExitResult, Force,
        FsIsolation, Health, HostsEntry, LinuxResources, Mount, MountConfigs, NetworkIsolation, NetworkMode,
        NetworkPort, NetworkResource, NomadConfig, PortMapping, Resources, SetConfig, TaskConfig, TaskHandle,
        TaskState, TerminalSize, Topology, TopologyCore,
    },
    hclspec::{Spec, Type},
};

async fn driver() -> (DriverClient, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let test = std::env::current_exe().unwrap();
    let options = LaunchOptions {
        program: test.parent().unwrap().parent().unwrap().join("examples/driver"),
        args: Vec::new(),
        env: Vec::new(),
        socket_dir: Some(directory.path().to_owned()),
        start_timeout: Duration::from_secs(20),
        log: Arc::new(|_| {}),
    };
    (DriverClient::launch(options).await.unwrap(), directory)
}

/// The echo driver answers these calls with an error that is what it was asked.
fn message<T: Debug>(answer: Result<T, ClientError>) -> String {
    match answer {
        Err(ClientError::Driver(error)) => error.message,
        other => panic!("no word from the driver: {other:?}"),
    }
}

fn isolation() -> NetworkIsolation {
    NetworkIsolation {
        mode: NetworkMode::Group,
        path: "/run/netns/x".into(),
        labels: [("docker_sandbox_container_id".into(), "abc".into())].into(),
        hosts: Some(HostsEntry { hostname: "h".into(), address: "10.0.0.9".into() }),
    }
}

/// A task with every field set, each to a value of its own.
fn task() -> TaskConfig {
    let port = |label: &str, value| NetworkPort { label: label.into(), value };
    TaskConfig {
        id: "alloc/web/1".into(),
        name: "web".into(),
        driver_config: vec![0x80],
        env: [("A".into(), "1".into())].into(),
        device_env: [("B".into(), "2".into())].into(),
        resources: Some(Resources {
            allocated: Some(AllocatedResources {
                cpu_shares: 500,
                memory_mb: 256,
                memory_max_mb: -1,
                networks: vec![NetworkResource {
                    device: "eth0".into(),
                    cidr: "10.0.0.0/8".into(),
                    ip: "10.0.0.1".into(),
                    mbits: 10,
                    reserved_ports: vec![port("a", 1)],
                    dynamic_ports: vec![port("b", 2)],
                }],
            }),
            linux: Some(LinuxResources {
                cpu_period: 1,
                cpu_quota: 2,
                cpu_shares: 3,
                memory_limit_bytes: 4,
                oom_score_adj: 5,
                cpuset_cpus: "0-1".into(),
                cpuset_cgroup: "/c".into(),
                percent_ticks: 0.25,
            }),
            ports: vec![PortMapping { label: "http".into(), value: 8080, to: 80, host_ip: "127.0.0.1".into() }],
        }),
        mounts: vec![Mount {
            task_path: "/m".into(),
            host_path: "/h".into(),
            readonly: true,
            propagation_mode: "private".into(),
            selinux_label: "z".into(),
            request_name: "v".into(),
        }],
        devices: vec![Device {
            task_path: "/dev/t".into(),
            host_path: "/dev/h".into(),
            cgroup_permissions: "rw".into(),
        }],
        user: "nobody".into(),
        alloc_dir: "/alloc".into(),
        stdout_path: "/o".into(),
        stderr_path: "/e".into(),
        task_group_name: "g".into(),
        job_name: "j".into(),
        alloc_id: "alloc".into(),
        network_isolation: Some(isolation()),
        dns: Some(Dns { servers: vec!["1.1.1.1".into()], searches: vec!["s".into()], options: vec!["o".into()] }),
        job_id: "job".into(),
        namespace: "default".into(),
        node_name: "n".into(),
        node_id: "nid".into(),
        parent_job_id: "p".into(),
    }
}

#[tokio::test]
async fn what_a_plugin_says_of_itself_arrives() {
    let (driver, _directory) = driver().await;

    let info = driver.info().await.unwrap();
    assert_eq!(
        (info.name.as_str(), info.version.as_str(), info.api_versions),
        ("echo", "0.1.0", vec!["v0.1.0".into()])
    );
    let gc = Spec::block("gc", Spec::object([("image", Spec::attr("image", Type::Bool).or("true"))]));
    assert_eq!(driver.config_schema().await.unwrap(), gc);
    let Spec::Object(schema) = driver.task_config_schema().await.unwrap() else { panic!("no object") };
    assert_eq!(schema.keys().collect::<Vec<_>>(), ["image", "labels", "mount"]);
    assert_eq!(schema["image"], Spec::required_attr("image", Type::String));
    let capabilities = driver.capabilities().await.unwrap();
    assert_eq!(capabilities.fs_isolation, FsIsolation::Image);
    assert_eq!(capabilities.network_isolation_modes, [NetworkMode::Host, NetworkMode::Group, NetworkMode::Task]);
    assert_eq!(capabilities.mount_configs, MountConfigs::Any);
    assert!(capabilities.must_create_network && capabilities.disable_log_collection && capabilities.exec);
    driver.init().await.unwrap();
    driver.shutdown().await.unwrap();
    driver.kill().await;
}

#[tokio::test]
async fn a_configuration_arrives_whole_and_its_rejection_says_where_it_came_from() {
    let (driver, _directory) = driver().await;
    let core = TopologyCore { core_id: 1, efficiency: true, max_speed: 3000, ..TopologyCore::default() };
    let topology = Topology { node_ids: vec![0], cores: vec![core], override_total_compute: 9, ..Topology::default() };
    let nomad = NomadConfig { max_port: 32000, min_port: 20000, topology: Some(topology) };
    let config = SetConfig { msgpack: vec![0xc0], nomad: Some(nomad), api_version: "v0.1.0".into() };

    let refused = message(driver.set_config(config.clone()).await);
    driver.set_config(SetConfig { nomad: None, ..config.clone() }).await.unwrap();

    assert_eq!(refused, format!("SetConfig failed: {config:?}"));
    driver.kill().await;
}

#[tokio::test]
async fn a_task_starts_and_comes_back_with_every_field() {
    let (driver, _directory) = driver().await;

    let started = driver.start_task(task()).await.unwrap();
    assert_eq!(started.handle.config, task());
    assert_eq!((started.handle.version, started.handle.state), (1, TaskState::Running));
    assert_eq!((started.network.addr.as_str(), started.network.port_map["http"]), ("10.0.0.2", 80));
    // As from an agent's disk.
    let config = TaskConfig { driver_config: Vec::new(), ..task() };
    let handle = TaskHandle { config, ..started.handle };
    assert_eq!(message(driver.recover_task(handle.clone()).await), format!("{handle:?}"));
    driver.kill().await;
}

#[tokio::test]
async fn a_handle_without_an_id_does_not_reach_the_driver() {
    let (driver, _directory) = driver().await;
    let handle = TaskHandle { config: TaskConfig { id: "".into(), ..task() }, version: 1, ..TaskHandle::default() };

    assert_eq!(message(driver.recover_task(handle).await), "the handle to recover from has no task id");

    driver.kill().await;
}

#[tokio::test]
async fn a_failed_start_says_whether_a_new_attempt_may_help() {
    let (driver, _directory) = driver().await;

    for (name, expected) in [("recoverable", DriverError::recoverable("later")), ("fatal", DriverError::fatal("never"))]
    {
        let error = driver.start_task(TaskConfig { name: name.into(), ..task() }).await.unwrap_err();
        let ClientError::Driver(error) = error else { panic!("{error}") };
        assert_eq!(error, expected);
    }
    driver.kill().await;
}

#[tokio::test]
async fn calls_about_a_task_arrive_with_their_arguments() {
    let (driver, _directory) = driver().await;
    let id = || "i".into();

    let waited = driver.wait_task(id()).await.unwrap();
    assert_eq!(waited.result, ExitResult { exit_code: 3, signal: 9, oom_killed: true });
    assert_eq!(waited.error, "waited for i");
    let stopped = message(driver.stop_task(id(), Duration::from_millis(1500), "SIGHUP".into()).await);
    assert_eq!(stopped, r#"(TaskId("i"), 1.5s, "SIGHUP")"#);
    assert_eq!(message(driver.destroy_task(id(), Force::Yes).await), r#"(TaskId("i"), Yes)"#);
    assert_eq!(message(driver.signal_task(id(), "SIGUSR1".into()).await), r#"(TaskId("i"), "SIGUSR1")"#);
    let inspected = driver.inspect_task(id()).await.unwrap();
    assert_eq!(inspected.started_at, Some(std::time::UNIX_EPOCH + Duration::from_millis(1500)));
    assert_eq!((inspected.completed_at, inspected.state), (None, TaskState::Running));
    assert_eq!(inspected.attributes["container_id"], "abc");
    driver.kill().await;
}

#[tokio::test]
async fn streams_carry_every_kind_of_value() {
    let (driver, _directory) = driver().await;

    let fingerprint = driver.fingerprint().await.unwrap().next().await.unwrap().unwrap();
    assert_eq!((fingerprint.health, fingerprint.description.as_str()), (Health::Healthy, "Healthy"));
    let expected = BTreeMap::from([
        ("driver.echo".to_owned(), Attribute::Bool(true)),
        ("driver.echo.load".to_owned(), Attribute::Float(0.5, String::new())),
        ("driver.echo.memory".to_owned(), Attribute::Int(5, "MiB".into())),
        ("driver.echo.version".to_owned(), Attribute::String("1".into())),
    ]);
    assert_eq!(fingerprint.attributes, expected);

    let samples: Vec<_> = driver.task_stats("i".into(), Duration::from_secs(3)).await.unwrap().collect().await;
    let first = samples[0].as_ref().unwrap();
    assert_eq!(first.at, std::time::UNIX_EPOCH + Duration::from_secs(3));
    assert_eq!((first.cpu.percent, first.cpu.throttled_periods, first.cpu.user_mode), (Some(12.5), Some(0), None));
    assert!((first.cpu.total_ticks - 250.0).abs() < 1e-9, "{first:?}");
    assert_eq!((first.memory.rss, first.memory.swap, first.memory.cache), (Some(1 << 40), Some(0), None));
    let Err(ClientError::Driver(error)) = &samples[1] else { panic!("no error: {samples:?}") };
    assert_eq!(*error, DriverError::recoverable("container stopped"));

    let event = driver.task_events().await.unwrap().next().await.unwrap().unwrap();
    assert_eq!((event.message.as_str(), event.annotations["image"].as_str()), ("Downloading image", "busybox:1"));
    driver.kill().await;
}

#[tokio::test]
async fn a_command_gets_its_input_and_gives_its_output_and_code() {
    let (driver, _directory) = driver().await;

    let output = driver.exec_task("i".into(), vec!["a".into(), "b".into()], Duration::from_secs(2)).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"a b"[..], &b"i 2s"[..]));
    assert_eq!(output.result.exit_code, 7);

    let setup = ExecSetup { task_id: "i".into(), command: vec!["cat".into()], tty: true };
    let size = TerminalSize { height: 24, width: 80 };
    let input = [ExecInput::Heartbeat, ExecInput::Stdin("in".into()), ExecInput::Resize(size), ExecInput::StdinClosed];
    let events = driver.exec_task_streaming(setup, stream::iter(input)).await.unwrap();
    let events: Vec<_> = events.map(Result::unwrap).collect().await;
    let exited = ExecEvent::Exited(ExitResult { exit_code: 5, ..ExitResult::default() });
    let resized = ExecEvent::Stderr("Resize(TerminalSize { height: 24, width: 80 })".into());
    let [beat, echo] = ["heartbeat", "in"].map(|text| ExecEvent::Stdout(text.into()));
    let expected = [beat, echo, resized, ExecEvent::StdoutClosed, ExecEvent::StderrClosed, exited];
    assert_eq!(events, expected);

    let empty = ExecSetup { task_id: "i".into(), command: vec![], tty: false };
    let Err(refused) = driver.exec_task_streaming(empty, stream::empty()).await else { panic!("it was taken") };
    assert_eq!(refused.to_string(), r#"ExecSetup { task_id: TaskId("i"), command: [], tty: false }"#);
    driver.kill().await;
}

#[tokio::test]
async fn networks_are_made_and_removed() {
    let (driver, _directory) = driver().await;

    let network = driver.create_network("a".into(), "host".into()).await.unwrap();
    assert!(network.created);
    assert_eq!((network.isolation.mode, network.isolation.path.as_str()), (NetworkMode::Group, "/run/netns/a"));
    assert_eq!(network.isolation.labels["hostname"], "host");
    let removed = message(driver.destroy_network("a".into(), Some(isolation())).await);
    assert_eq!(removed, format!("(AllocId(\"a\"), Some({:?}))", isolation()));
    driver.kill().await;
}

#[tokio::test]
async fn a_driver_that_ended_is_distinguished_from_one_that_refuses() {
    let (driver, _directory) = driver().await;
    let pid = pid_of(&driver);

    std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    driver.exited().await;
    let error = driver.info().await.unwrap_err();

    assert!(matches!(error, ClientError::Transport(_)), "{error:?}");
}

fn pid_of(driver: &DriverClient) -> i32 {
    driver.reattach_config().pid
}
