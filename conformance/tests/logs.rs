//! What a task writes reaches the host's pipes: every line, once, in order, whoever of those on the way dies. The pipes are
//! read as an agent's log collector reads them: opened once, up to the end of file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, time::Duration};

use conformance::{
    Fixture, Started, Task,
    docker::{docker, inspect},
    event_that, image, kill,
    lines::{Judgement, flood, judge, last_number},
    object, text, until,
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

/// The node's log holders: those that a driver with this directory started.
fn holders(fixture: &Fixture) -> Vec<i32> {
    conformance::holder::holders(&fixture.directory().join("state"))
}

/// The one log holder.
fn holder(fixture: &Fixture) -> i32 {
    match holders(fixture)[..] {
        [holder] => holder,
        ref other => panic!("not one log holder but {other:?}"),
    }
}

/// A driver with a task that writes 200 lines a second.
struct Steady {
    fixture: Fixture,
    task: Task,
    started: Started,
}

impl Steady {
    async fn start() -> Self {
        let fixture = Fixture::start().await;
        let task = fixture.task("steady", &steady("a", "0.005"));
        let started = fixture.run(&task).await;
        let steady = Self { fixture, task, started };
        steady.read_on("the first lines", 50);
        steady
    }

    /// Waits until this many more lines came.
    fn read_on(&self, what: &str, lines: u64) {
        let goal = last_number(&self.task.pipes.stdout.bytes(), "a") + lines;
        self.task.pipes.stdout.wait_for(what, |bytes| last_number(bytes, "a") >= goal);
    }

    /// Waits until the engine has this many lines more than the reader.
    async fn written_on(&self, lines: u64) {
        let goal = last_number(&self.task.pipes.stdout.bytes(), "a") + lines;
        let container = self.task.container();
        until("more lines are written", || {
            last_number(docker(&["logs", "--tail", "5", &container]).as_bytes(), "a") >= goal
        })
        .await;
    }

    async fn recover(&mut self) {
        self.fixture.start_again().await;
        self.fixture.driver.recover_task(self.started.handle.clone()).await.unwrap();
    }

    /// Stops the task; what became of all its lines, up to the end of file.
    async fn judged(self) -> Judgement {
        let Self { fixture, task, started } = self;
        fixture.driver.stop_task(started.id.clone(), Duration::ZERO, String::new()).await.unwrap();
        fixture.driver.wait_task(started.id).await.unwrap();
        let bytes = task.pipes.stdout.to_the_end();
        fixture.end().await;
        judge(&bytes, "a", last_number(&bytes, "a"))
    }
}

#[tokio::test]
async fn a_killed_driver_leaves_no_gap_and_repeats_no_line() {
    let mut steady = Steady::start().await;
    let life = |steady: &Steady| {
        let container = inspect(&steady.task.container());
        ["/Id", "/State/StartedAt"].map(|field| container.pointer(field).unwrap().clone())
    };
    let before = life(&steady);

    for _ in 0..3 {
        steady.read_on("more lines", 100);
        steady.fixture.kill();
        steady.recover().await;
        assert_eq!(holders(&steady.fixture).len(), 1);
    }
    steady.read_on("lines after the last kill", 100);

    assert_eq!(life(&steady), before, "the container is the same and was not started again");
    assert_eq!(steady.judged().await, Judgement::default());
}

#[tokio::test]
async fn a_killed_log_holder_is_replaced_before_the_driver_dies_too() {
    let mut steady = Steady::start().await;

    for _ in 0..2 {
        let dead = holder(&steady.fixture);
        kill([dead]);
        until("another log holder", || matches!(holders(&steady.fixture)[..], [other] if other != dead)).await;
        steady.read_on("more lines", 100);
        steady.fixture.kill();
        steady.recover().await;
        steady.read_on("lines after the kill", 100);
    }

    assert_eq!(steady.judged().await, Judgement::default());
}

#[tokio::test]
async fn a_reader_that_found_the_end_of_file_is_reported_and_the_next_one_misses_nothing() {
    let mut steady = Steady::start().await;
    steady.fixture.kill();
    kill([holder(&steady.fixture)]);
    steady.task.pipes.stdout.to_the_end();

    steady.fixture.start_again().await;
    let mut events = steady.fixture.driver.task_events().await.unwrap();
    steady.fixture.driver.recover_task(steady.started.handle.clone()).await.unwrap();
    let report = event_that(&mut events, "nobody reads", |event| event.message.contains("nobody has read")).await;
    steady.task.pipes.stdout.read();
    steady.read_on("lines after a new reader came", 100);

    assert_eq!(report.task_id, steady.started.id);
    assert_eq!(steady.judged().await, Judgement::default());
}

/// Who dies, in this order.
#[derive(Clone, Copy, Debug)]
enum Death {
    Reader,
    Driver,
    Holder,
}

#[tokio::test]
async fn what_lay_in_the_pipe_unread_is_neither_lost_nor_repeated() {
    use Death::{Driver, Holder, Reader};
    for deaths in [
        &[Reader, Driver][..],
        &[Driver, Reader],
        // The pipe is gone with them: the reader's own files say what came.
        &[Reader, Driver, Holder],
        &[Driver, Holder, Reader],
        &[Reader, Holder, Driver],
    ] {
        let mut steady = Steady::start().await;

        for death in deaths {
            match death {
                Reader => steady.task.pipes.stdout.end(),
                Driver => steady.fixture.kill(),
                Holder => kill([holder(&steady.fixture)]),
            }
            steady.written_on(10).await;
        }
        steady.task.pipes.stdout.read();
        steady.recover().await;
        steady.read_on(&format!("lines after {deaths:?}"), 100);

        assert_eq!(steady.judged().await, Judgement::default(), "{deaths:?}");
    }
}

#[tokio::test]
async fn one_small_log_holder_serves_all_tasks_and_ends_when_nothing_is_left() {
    let fixture = Fixture::start().await;
    let mut tasks = Vec::new();
    for number in 0..4 {
        let task = fixture.task(&format!("t{number}"), "echo ready; read line");
        let started = fixture.run(&task).await;
        task.pipes.stdout.wait_for_text("ready\n");
        tasks.push((task, started));
    }

    let holder = holder(&fixture);
    let memory = proportional_set_size(holder);
    for (task, started) in &tasks {
        fixture.driver.stop_task(started.id.clone(), Duration::ZERO, String::new()).await.unwrap();
        fixture.driver.wait_task(started.id.clone()).await.unwrap();
        assert_eq!(task.pipes.stdout.to_the_end(), b"ready\n");
    }
    until("the log holder ends", || !Path::new(&format!("/proc/{holder}")).exists()).await;

    assert!(memory < 1 << 20, "the log holder has {memory} bytes");
    fixture.end().await;
}

/// The memory of a process in bytes, its share of what it shares included.
fn proportional_set_size(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
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
async fn standard_error_has_its_own_pipe_and_a_terminal_has_one_stream() {
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

    assert!(!fixture.directory().join("state/logs").exists());
    let id = fixture.driver.inspect_task(started.id).await.unwrap().attributes["container_id"].clone();
    assert!(docker(&["inspect", "--format", "{{.Config.Image}}", &id]).starts_with(&image()));
    fixture.end().await;
}
