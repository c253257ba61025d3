//! What a task writes reaches the host's pipes: every line, once, in order.

use conformance::{
    Fixture,
    docker::docker,
    image,
    lines::{Judgement, flood, judge, last_number},
    object, text,
};
use nomad_plugin::driver::ExitResult;

/// Numbered lines at a steady pace, without an end.
fn steady(life: &str, pause: &str) -> String {
    format!("n=0; while :; do n=$((n+1)); echo \"{life} $n\"; sleep {pause}; done")
}

#[tokio::test]
async fn a_flood_with_the_default_logging_arrives_whole_and_in_order() {
    let fixture = Fixture::start().await;
    let last = 250_000;
    let task = fixture.task("flood", &flood("a", last, 80));

    let started = fixture.run(&task).await;
    let ended = fixture.driver.wait_task(started.id).await.unwrap();
    task.pipes
        .stdout
        .wait_for("the last line", |bytes| last_number(&bytes[bytes.len().saturating_sub(400)..], "a") == last);

    assert_eq!(ended.result, ExitResult::default());
    assert_eq!(judge(&task.pipes.stdout.bytes(), "a", last), Judgement::default());
    fixture.end().await;
}

#[tokio::test]
async fn thirty_tasks_that_end_at_once_lose_no_line_and_no_exit_code() {
    let fixture = Fixture::start().await;
    let last = 200;
    let mut tasks = Vec::new();
    for number in 0..30 {
        let code = if number % 3 == 0 { 3 } else { 0 };
        let script = format!("n=0; while [ $n -lt {last} ]; do n=$((n+1)); echo \"a $n\"; done; exit {code}");
        let task = fixture.task(&format!("t{number}"), &script);
        let started = fixture.run(&task).await;
        tasks.push((task, started, code));
    }

    for (task, started, code) in tasks {
        let ended = fixture.driver.wait_task(started.id).await.unwrap();
        assert_eq!(ended.result.exit_code, code);
        task.pipes.stdout.wait_for("the last line", |bytes| last_number(bytes, "a") == last);
        assert_eq!(judge(&task.pipes.stdout.bytes(), "a", last), Judgement::default());
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_killed_driver_leaves_no_gap_and_repeats_no_line() {
    let mut fixture = Fixture::start().await;
    let task = fixture.task("steady", &steady("a", "0.005"));
    let started = fixture.run(&task).await;
    let pid = |name: &str| conformance::docker::inspect(name)["State"]["Pid"].clone();
    let before = pid(&task.container());

    for round in 1..=4 {
        task.pipes.stdout.wait_for("more lines", |bytes| last_number(bytes, "a") >= round * 100);
        fixture.kill_and_start_again().await;
        fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    }
    task.pipes.stdout.wait_for("lines after the last kill", |bytes| last_number(bytes, "a") >= 600);
    fixture.driver.stop_task(started.id.clone(), std::time::Duration::ZERO, String::new()).await.unwrap();
    fixture.driver.wait_task(started.id.clone()).await.unwrap();

    let bytes = task.pipes.stdout.bytes();
    assert_eq!(judge(&bytes, "a", last_number(&bytes, "a")), Judgement::default());
    assert!(before.as_i64() > Some(0));
    fixture.end().await;
}

#[tokio::test]
async fn a_driver_killed_in_a_flood_leaves_no_gap_and_repeats_no_line() {
    let mut fixture = Fixture::start().await;
    let last = 400_000;
    // Kept whole by the engine, for a driver that is away cannot hold rotated files.
    let logging = object(&[("type", text("json-file"))]);
    let task = fixture.task("flood", &flood("a", last, 60)).option("logging", logging);
    let started = fixture.run(&task).await;

    for part in 1..=3 {
        task.pipes.stdout.wait_for("a part of the flood", |bytes| bytes.len() > part * 3_000_000);
        fixture.kill_and_start_again().await;
        fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    }
    fixture.driver.wait_task(started.id.clone()).await.unwrap();
    task.pipes
        .stdout
        .wait_for("the last line", |bytes| last_number(&bytes[bytes.len().saturating_sub(400)..], "a") == last);

    assert_eq!(judge(&task.pipes.stdout.bytes(), "a", last), Judgement::default());
    fixture.end().await;
}

#[tokio::test]
async fn standard_error_goes_its_own_way_and_a_terminal_has_one_stream() {
    let fixture = Fixture::start().await;
    let apart = fixture.task("apart", "echo out; echo err >&2");
    let terminal =
        fixture.task("terminal", "echo out; echo err >&2").option("tty", nomad_plugin::msgpack::Value::Bool(true));

    for task in [&apart, &terminal] {
        let started = fixture.run(task).await;
        fixture.driver.wait_task(started.id).await.unwrap();
    }
    apart.pipes.stderr.wait_for_text("err\n");
    terminal.pipes.stdout.wait_for_text("err\r\n");

    assert_eq!((apart.pipes.stdout.text(), apart.pipes.stderr.text()), ("out\n".into(), "err\n".into()));
    assert_eq!(terminal.pipes.stdout.text(), "out\r\nerr\r\n");
    assert_eq!(terminal.pipes.stderr.text(), "");
    fixture.end().await;
}

#[tokio::test]
async fn another_logging_driver_is_read_through_the_engine() {
    let mut fixture = Fixture::start().await;
    let logging = object(&[("type", text("local"))]);
    let task = fixture.task("steady", &steady("a", "0.01")).option("logging", logging);
    let started = fixture.run(&task).await;

    task.pipes.stdout.wait_for("lines", |bytes| last_number(bytes, "a") >= 50);
    fixture.kill_and_start_again().await;
    fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    task.pipes.stdout.wait_for("lines after the kill", |bytes| last_number(bytes, "a") >= 150);
    fixture.driver.stop_task(started.id.clone(), std::time::Duration::ZERO, String::new()).await.unwrap();
    fixture.driver.wait_task(started.id.clone()).await.unwrap();

    let bytes = task.pipes.stdout.bytes();
    assert_eq!(judge(&bytes, "a", last_number(&bytes, "a")), Judgement::default());
    fixture.end().await;
}

#[tokio::test]
async fn a_log_that_nobody_wants_is_not_collected() {
    let fixture = Fixture::start().await;
    let mut task = fixture.task("quiet", "echo out");
    task.config.stdout_path = "/dev/null".into();
    task.config.stderr_path = "/dev/null".into();

    let started = fixture.run(&task).await;
    fixture.driver.wait_task(started.id.clone()).await.unwrap();

    assert!(!task.alloc_dir().join("quiet/.docker-log-position.json").exists());
    let id = fixture.driver.inspect_task(started.id).await.unwrap().attributes["container_id"].clone();
    assert!(docker(&["inspect", "--format", "{{.Config.Image}}", &id]).starts_with(&image()));
    fixture.end().await;
}
