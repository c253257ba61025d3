//! A task's life, from its start to its removal.

use std::{future::ready, time::Duration};

use conformance::{
    DEADLINE, Fixture,
    docker::{containers_of, docker, inspect},
    image, text,
};
use futures_util::StreamExt;
use nomad_plugin::driver::{ExitResult, Force, TaskState};

#[tokio::test]
async fn a_task_runs_ends_with_its_code_and_is_removed() {
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "exit 3");

    let started = fixture.run(&task).await;
    let ended = fixture.driver.wait_task(started.id.clone()).await.unwrap();
    fixture.driver.destroy_task(started.id.clone(), Force::No).await.unwrap();

    assert_eq!(ended.result, ExitResult { exit_code: 3, ..ExitResult::default() });
    assert_eq!(ended.error, "Docker container exited with non-zero exit code: 3");
    let missing = fixture.driver.wait_task(started.id).await.unwrap_err();
    assert_eq!(missing.to_string(), "task not found for given id");
    fixture.end().await;
}

#[tokio::test]
async fn a_running_task_is_inspected_and_stopped_by_its_signal() {
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done");
    let started = fixture.run(&task).await;
    task.pipes.stdout.wait_for_text("ready");

    let inspected = fixture.driver.inspect_task(started.id.clone()).await.unwrap();
    fixture.driver.stop_task(started.id.clone(), Duration::from_secs(20), String::new()).await.unwrap();
    let ended = fixture.driver.wait_task(started.id.clone()).await.unwrap();

    assert_eq!(inspected.state, TaskState::Running);
    assert_eq!(inspected.attributes["container_id"], inspect(&task.container())["Id"].as_str().unwrap());
    assert!(inspected.started_at.is_some() && inspected.completed_at.is_none());
    assert_eq!(ended.result.exit_code, 7);
    fixture.end().await;
}

#[tokio::test]
async fn a_stop_with_a_signal_sends_that_one_and_then_a_kill() {
    let fixture = Fixture::start().await;
    let traps = "for signal in HUP INT QUIT USR1 USR2 TERM; do trap \"echo got $signal\" $signal; done";
    let task = fixture.task("stubborn", &format!("{traps}; echo ready; while :; do sleep 0.05; done"));
    let started = fixture.run(&task).await;
    task.pipes.stdout.wait_for_text("ready");

    fixture.driver.stop_task(started.id.clone(), Duration::from_secs(1), "SIGUSR1".to_owned()).await.unwrap();
    let ended = fixture.driver.wait_task(started.id).await.unwrap();

    assert_eq!(ended.result.exit_code, 137);
    assert_eq!(task.pipes.stdout.text(), "ready\ngot USR1\n");
    fixture.end().await;
}

#[tokio::test]
async fn a_task_whose_log_pipe_is_not_there_does_not_start() {
    let fixture = Fixture::start().await;
    let task = fixture.task("mute", "exec sleep 1000");
    std::fs::remove_file(&task.config.stdout_path).unwrap();

    let refused = fixture.refused(&task).await;

    assert!(refused.message.starts_with("failed to collect the task's log: "), "{refused}");
    assert_eq!(containers_of(fixture.directory()), Vec::<String>::new());
    fixture.end().await;
}

/// `tail` keeps a line until it has seen its end, and this one has none.
const GREED: &str = "tail /dev/zero";

#[tokio::test]
async fn a_task_that_the_kernel_kills_for_its_memory_is_reported_as_that() {
    let fixture = Fixture::start().await;
    let task = fixture.task("greedy", &format!("exec {GREED}"));

    let started = fixture.run(&task).await;
    let ended = fixture.driver.wait_task(started.id).await.unwrap();

    assert_eq!(ended.result, ExitResult { exit_code: 137, signal: 0, oom_killed: true });
    assert_eq!(ended.error, "OOM Killed");
    fixture.end().await;
}

#[tokio::test]
async fn a_child_that_the_kernel_kills_is_an_event_and_does_not_colour_a_later_stop() {
    let fixture = Fixture::start().await;
    let events = fixture.driver.task_events().await.unwrap();
    let task = fixture.task("parent", &format!("{GREED}; sleep 6; echo later; exec sleep 1000"));
    let killed = events.filter(|event| {
        let event = event.as_ref().unwrap();
        ready(event.task_id == task.config.id && event.message.contains("out of memory"))
    });

    let started = fixture.run(&task).await;
    let event = tokio::time::timeout(*DEADLINE, Box::pin(killed).next()).await.expect("the kill is reported");
    task.pipes.stdout.wait_for_text("later");
    fixture.driver.stop_task(started.id.clone(), Duration::ZERO, String::new()).await.unwrap();
    let ended = fixture.driver.wait_task(started.id).await.unwrap();

    assert_eq!(event.unwrap().unwrap().message, "The kernel killed a process of the task: out of memory");
    assert_eq!(ended.result, ExitResult { exit_code: 137, signal: 0, oom_killed: false });
    assert_eq!(ended.error, "Docker container exited with non-zero exit code: 137");
    fixture.end().await;
}

/// An image that has a volume of its own at `/data`.
struct WithVolume(String);

impl WithVolume {
    fn make() -> Self {
        let name = format!("longshore-test/with-volume:{}", std::process::id());
        let container = docker(&["create", &image()]);
        docker(&["commit", "--change", "VOLUME /data", container.trim(), &name]);
        docker(&["rm", "--volumes", container.trim()]);
        Self(name)
    }
}

impl Drop for WithVolume {
    fn drop(&mut self) {
        docker(&["rmi", &self.0]);
    }
}

#[tokio::test]
async fn the_volumes_that_an_image_asks_for_go_with_the_container() {
    let image = WithVolume::make();
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "echo kept >/data/file; exec sleep 1000").option("image", text(&image.0));
    let volumes = || docker(&["volume", "ls", "--quiet"]);

    let started = fixture.run(&task).await;
    let mounts = inspect(&task.container())["Mounts"].clone();
    let volume = mounts.as_array().unwrap().iter().find_map(|mount| mount["Name"].as_str()).unwrap().to_owned();
    let before = volumes();
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();

    assert!(before.contains(&volume), "{volume} is not among {before}");
    assert!(!volumes().contains(&volume));
    fixture.end().await;
}

#[tokio::test]
async fn what_a_killed_driver_left_of_a_task_is_ended_when_the_task_is_destroyed() {
    let mut fixture = Fixture::start().await;
    let (lost, other) = (fixture.task("lost", "sleep 1000"), fixture.task("other", "sleep 1000"));
    let id = fixture.run(&lost).await.id;
    fixture.run(&other).await;
    let left = |fixture: &Fixture| containers_of(fixture.directory());

    fixture.kill_and_start_again().await;
    let gently = fixture.driver.destroy_task(id.clone(), Force::No).await.unwrap_err();
    let left_gently = left(&fixture).len();
    let forced = fixture.driver.destroy_task(id, Force::Yes).await.unwrap_err();

    assert_eq!([gently, forced].map(|error| error.to_string()), ["task not found for given id"; 2]);
    assert_eq!((left_gently, left(&fixture)), (2, vec![other.container()]));
    fixture.end().await;
}

#[tokio::test]
async fn a_task_that_runs_is_not_what_an_earlier_run_left_of_it() {
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "sleep 1000");
    let started = fixture.run(&task).await;
    let earlier = format!("{}/web/00000000", task.config.alloc_id);

    let refused = fixture.driver.destroy_task(earlier.as_str().into(), Force::Yes).await.unwrap_err();

    assert_eq!(refused.to_string(), "task not found for given id");
    let inspected = fixture.driver.inspect_task(started.id).await.unwrap();
    assert_eq!(inspected.state, TaskState::Running);
    fixture.end().await;
}

#[tokio::test]
async fn a_task_whose_container_was_removed_by_others_is_inspected_as_one_that_does_not_run() {
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "sleep 1000");
    let started = fixture.run(&task).await;

    docker(&["rm", "--force", &task.container()]);
    fixture.driver.wait_task(started.id.clone()).await.unwrap();

    assert_eq!(fixture.driver.inspect_task(started.id).await.unwrap().state, TaskState::Unknown);
    fixture.end().await;
}
