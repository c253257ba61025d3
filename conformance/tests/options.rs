//! What a job says, and what Docker was really told: asked of Docker itself.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use conformance::{Fixture, Task, docker::inspect, object, text, texts};
use nomad_plugin::{
    client::ClientError,
    driver::{DriverError, Recoverability},
    msgpack::Value,
};
use serde_json::json;

async fn refused(fixture: &Fixture, task: &Task) -> DriverError {
    match fixture.driver.start_task(task.config.clone()).await {
        Err(ClientError::Driver(error)) => error,
        other => panic!("it was not refused: {:?}", other.map(|started| started.handle.version)),
    }
}

#[tokio::test]
async fn what_the_job_says_of_the_process_reaches_docker() {
    let fixture = Fixture::with(object(&[("extra_labels", texts(&["job_*", "task_name"]))]), &[]).await;
    let mut task = fixture
        .task("web", "")
        .option("command", text("sleep"))
        .option("args", texts(&["1000"]))
        .option("entrypoint", texts(&["/bin/busybox"]))
        .option("work_dir", text("/tmp"))
        .option("hostname", text("inside"))
        .option("interactive", Value::Bool(true))
        .option("init", Value::Bool(true))
        .option("dns_servers", texts(&["10.1.1.1"]))
        .option("dns_search_domains", texts(&["corp"]))
        .option("extra_hosts", texts(&["db:10.0.0.9"]))
        .option(
            "logging",
            object(&[("type", text("json-file")), ("config", Value::List(vec![object(&[("max-size", text("1m"))])]))]),
        );
    task.config.user = "nobody".into();
    task.config.env.insert("ZED".into(), "last".into());
    fixture.run(&task).await;

    let told = inspect(&task.container());
    let (config, host) = (&told["Config"], &told["HostConfig"]);
    assert_eq!((&config["Cmd"], &config["Entrypoint"]), (&json!(["sleep", "1000"]), &json!(["/bin/busybox"])));
    assert_eq!((&config["WorkingDir"], &config["Hostname"]), (&json!("/tmp"), &json!("inside")));
    assert_eq!((&config["User"], &config["OpenStdin"], &host["Init"]), (&json!("nobody"), &json!(true), &json!(true)));
    let labels = &config["Labels"];
    assert_eq!(labels["com.hashicorp.nomad.alloc_id"], task.config.alloc_id.as_str());
    assert_eq!(
        (&labels["com.hashicorp.nomad.job_name"], &labels["com.hashicorp.nomad.task_name"]),
        (&json!("test"), &json!("web"))
    );
    assert_eq!(labels["com.hashicorp.nomad.namespace"], json!(null));
    assert!(config["Env"].as_array().unwrap().contains(&json!("ZED=last")));
    assert_eq!((&host["Dns"], &host["DnsSearch"]), (&json!(["10.1.1.1"]), &json!(["corp"])));
    assert_eq!(host["ExtraHosts"], json!(["db:10.0.0.9"]));
    assert_eq!(host["LogConfig"], json!({ "Type": "json-file", "Config": { "max-size": "1m" } }));
    assert_eq!(
        (&host["Memory"], &host["MemorySwap"], &host["CpuShares"]),
        (&json!(128 << 20), &json!(128 << 20), &json!(100))
    );
    assert_eq!(host["CapDrop"], json!(["CAP_NET_RAW"]));
    assert_eq!((&host["Privileged"], &host["NetworkMode"]), (&json!(false), &json!("none")));
    fixture.end().await;
}

#[tokio::test]
async fn a_task_sees_its_directories_and_writes_where_it_may() {
    let fixture = Fixture::start().await;
    let script = "echo a > /alloc/data/a; echo b > /local/b; echo c > /secrets/c; \
                  touch /alloc/logs/x 2>&1; cat /in/file; df /mem | tail -1";
    let bind = object(&[
        ("type", text("bind")),
        ("source", text("local/in")),
        ("target", text("/in")),
        ("readonly", Value::Bool(true)),
    ]);
    let memory = object(&[
        ("type", text("tmpfs")),
        ("target", text("/mem")),
        ("tmpfs_options", object(&[("size", Value::Int(1 << 20))])),
    ]);
    let task = fixture
        .task("web", script)
        .option("mount", Value::List(vec![bind]))
        .option("mounts", Value::List(vec![memory]));
    let own = task.alloc_dir().join("web");
    std::fs::create_dir_all(own.join("local/in")).unwrap();
    std::fs::write(own.join("local/in/file"), "from the host\n").unwrap();

    let started = fixture.run(&task).await;
    fixture.driver.wait_task(started.id).await.unwrap();

    let read = |path: &str| std::fs::read_to_string(task.alloc_dir().join(path)).unwrap();
    assert_eq!(
        (read("alloc/data/a"), read("web/local/b"), read("web/secrets/c")),
        ("a\n".into(), "b\n".into(), "c\n".into())
    );
    let said = task.pipes.stdout.text();
    assert!(said.contains("Read-only file system") && said.contains("from the host\n"), "{said}");
    assert!(said.contains("1024"), "the memory file system has no megabyte: {said}");
    fixture.end().await;
}

#[tokio::test]
async fn a_mapped_port_answers() {
    let fixture = Fixture::start().await;
    let port = i32::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let task = fixture
        .task("web", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")
        .option("network_mode", text(""))
        .option("ports", texts(&["http"]))
        .port("http", port, 8080);

    let started = fixture.run(&task).await;

    assert!(started.address.parse::<std::net::Ipv4Addr>().is_ok(), "{:?}", started.address);
    let answer = answer(port);
    assert!(answer.starts_with("HTTP/1.") && answer.ends_with("hello\n"), "{answer}");
    fixture.end().await;
}

/// Asks until the server listens.
fn answer(port: i32) -> String {
    let deadline = std::time::Instant::now() + *conformance::DEADLINE;
    loop {
        let asked = TcpStream::connect(format!("127.0.0.1:{port}")).and_then(|mut stream| {
            stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        match asked {
            Ok(answer) if !answer.is_empty() => return answer,
            _ => assert!(std::time::Instant::now() < deadline, "nothing answers on port {port}"),
        }
    }
}

#[tokio::test]
async fn what_the_operator_does_not_allow_is_refused_and_leaves_nothing() {
    let fixture = Fixture::start().await;
    let task = || fixture.task("web", "exit 0");
    let bind = object(&[("type", text("bind")), ("source", text("/etc")), ("target", text("/x"))]);
    for (task, expected) in [
        (task().option("privileged", Value::Bool(true)), "Docker privileged mode is disabled on this Nomad agent"),
        (
            task().option("cap_add", texts(&["net_admin"])),
            "driver does not allow the following capabilities: net_admin",
        ),
        (task().option("pid_mode", text("host")), "cannot apply \"pid_mode\" configuration"),
        (task().option("volumes", texts(&["/etc:/x"])), "volumes are not enabled; cannot mount host path: \"/etc:/x\""),
        (task().option("volumes", texts(&["../../../etc:/x"])), "volumes are not enabled; cannot mount host path: "),
        (task().option("mount", Value::List(vec![bind])), "volumes are not enabled; cannot mount host path: \"/etc\""),
        (task().option("runtime", text("kata")), "requested runtime \"kata\" is not allowed"),
        (task().option("ports", texts(&["http"])), "Port \"http\" not found, check network block"),
        (task().option("pids_limit", Value::Int(-5)), "pids_limit: must not be negative, this is -5"),
        (task().option("image", text("")), "image name required for docker driver"),
        (
            task().option("image", text("bad image")),
            "unable to create local docker image \"bad image\": does not match registry specification",
        ),
        (task().option("command", text(" ls")), "command contains extra white space: \" ls\""),
    ] {
        let error = refused(&fixture, &task).await;
        assert!(error.message.contains(expected), "{expected:?} is not in {:?}", error.message);
        assert_eq!(error.recoverability, Recoverability::Unsaid, "{expected}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn what_the_engine_refuses_is_told_in_its_words_and_leaves_nothing() {
    let fixture = Fixture::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = i32::from(listener.local_addr().unwrap().port());

    let no_user = {
        let mut task = fixture.task("user", "exit 0");
        task.config.user = "no-such-user".into();
        refused(&fixture, &task).await
    };
    let no_program = refused(&fixture, &fixture.task("program", "").option("command", text("/no/such"))).await;
    let busy = fixture.task("busy", "exit 0").option("network_mode", text("")).option("ports", texts(&["http"]));
    let busy = refused(&fixture, &busy.port("http", taken, 80)).await;

    assert!(no_user.message.starts_with("Failed to start container "), "{no_user}");
    assert!(no_user.message.contains("no-such-user"), "{no_user}");
    assert!(no_program.message.contains("/no/such"), "{no_program}");
    assert!(busy.message.contains("address already in use"), "{busy}");
    for error in [no_user, no_program, busy] {
        assert_eq!(error.recoverability, Recoverability::Fatal, "{error}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn namespaces_and_named_volumes_work_where_they_are_allowed() {
    let volumes = object(&[("enabled", Value::Bool(true))]);
    let fixture = Fixture::with(object(&[("allow_privileged", Value::Bool(true)), ("volumes", volumes)]), &[]).await;
    let name = format!("longshore-test-{}", std::process::id());
    let label = object(&[(conformance::LABEL, text("volume"))]);
    let volume = object(&[
        ("type", text("volume")),
        ("source", text(&name)),
        ("target", text("/v")),
        ("volume_options", object(&[("labels", Value::List(vec![label]))])),
    ]);
    let task = fixture
        .task("web", "echo kept > /v/file; exec sleep 1000")
        .option("pid_mode", text("host"))
        .option("mount", Value::List(vec![volume]));
    fixture.run(&task).await;

    let told = inspect(&task.container());
    assert_eq!(told["HostConfig"]["PidMode"], "host");
    let named = told["Mounts"].as_array().unwrap().iter().any(|mount| mount["Name"] == name.as_str());
    assert!(named, "{}", told["Mounts"]);
    fixture.end().await;
    conformance::docker::docker(&["volume", "rm", &name]);
}

#[tokio::test]
async fn a_second_start_of_a_task_is_refused_and_the_first_goes_on() {
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "exec sleep 1000");
    let started = fixture.run(&task).await;

    let error = refused(&fixture, &task).await;

    assert_eq!(error.message, format!("task with ID \"{}\" already started", started.id));
    assert_eq!(inspect(&task.container())["State"]["Running"], true);
    fixture.end().await;
}

#[tokio::test]
async fn signals_are_sent_by_name_and_statistics_come_at_the_interval() {
    use futures_util::StreamExt;
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "trap 'echo got' USR1; echo ready; while :; do sleep 0.05; done");
    let started = fixture.run(&task).await;

    let unknown = fixture.driver.signal_task(started.id.clone(), "SIGWHAT".into()).await.unwrap_err().to_string();
    let interval = std::time::Duration::from_millis(100);
    let samples = fixture.driver.task_stats(started.id.clone(), interval).await.unwrap();
    let samples: Vec<_> = samples.take(3).map(Result::unwrap).collect().await;
    task.pipes.stdout.wait_for_text("ready");
    fixture.driver.signal_task(started.id.clone(), "SIGUSR1".into()).await.unwrap();
    task.pipes.stdout.wait_for_text("got");

    assert!(
        unknown.starts_with("failed to parse signal: invalid signal \"SIGWHAT\" - valid signals are ["),
        "{unknown}"
    );
    assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
    let last = samples.last().unwrap();
    assert!(last.memory.usage > Some(0) && last.cpu.percent > Some(0.0), "{last:?}");
    fixture.end().await;
}
