//! What a job says, and what Docker really received: asked of Docker itself, and of the task from within.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compatibility;
mod differences;
mod limits;
mod mounts;
mod network;
mod operator;
mod ports;
mod process;
mod security;
mod tls;

use conformance::{Fixture, docker::inspect, object, text, texts};
use nomad_plugin::{driver::Recoverability, msgpack::Value};

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
        (task().option("image", text("")), "image name required for docker driver"),
        (
            task().option("image", text("bad image")),
            "unable to create local docker image \"bad image\": does not match registry specification",
        ),
        (task().option("command", text(" ls")), "command contains extra white space: \" ls\""),
    ] {
        let error = fixture.refused(&task).await;
        assert!(error.message.contains(expected), "{expected:?} is not in {:?}", error.message);
        assert_eq!(error.recoverability, Recoverability::Unsaid, "{expected}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn what_the_engine_refuses_is_reported_in_its_words_and_leaves_nothing() {
    let fixture = Fixture::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = i32::from(listener.local_addr().unwrap().port());

    let no_user = {
        let mut task = fixture.task("user", "exit 0");
        task.config.user = "no-such-user".into();
        fixture.refused(&task).await
    };
    let no_program = fixture.refused(&fixture.task("program", "").option("command", text("/no/such"))).await;
    let busy = fixture.task("busy", "exit 0").option("network_mode", text("")).option("ports", texts(&["http"]));
    let busy = fixture.refused(&busy.port("http", taken, 80)).await;

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
async fn a_second_start_of_a_task_is_refused_and_the_first_continues() {
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "exec sleep 1000");
    let started = fixture.run(&task).await;

    let error = fixture.refused(&task).await;

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

    let begin = "failed to parse signal: invalid signal \"SIGWHAT\" - valid signals are [\"SIGABRT\" \"SIGALRM\" ";
    assert!(unknown.starts_with(begin) && !unknown.contains(','), "{unknown}");
    assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
    let last = samples.last().unwrap();
    assert!(last.memory.usage > Some(0) && last.cpu.percent > Some(0.0), "{last:?}");
    // The agent said nothing of the machine's speed, which the kernel knows.
    assert!(last.cpu.total_ticks > 0.0, "{last:?}");
    fixture.end().await;
}
