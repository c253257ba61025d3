//! A task's life, from its start to its removal.

use std::time::Duration;

use conformance::{Fixture, docker::inspect};
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
    let gone = fixture.driver.wait_task(started.id).await.unwrap_err();
    assert_eq!(gone.to_string(), "task not found for given id");
    fixture.end().await;
}

#[tokio::test]
async fn a_running_task_is_inspected_and_stopped_by_its_signal() {
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "trap 'exit 7' TERM; while :; do sleep 0.1; done");
    let started = fixture.run(&task).await;

    let inspected = fixture.driver.inspect_task(started.id.clone()).await.unwrap();
    fixture.driver.stop_task(started.id.clone(), Duration::from_secs(20), String::new()).await.unwrap();
    let ended = fixture.driver.wait_task(started.id.clone()).await.unwrap();

    assert_eq!(inspected.state, TaskState::Running);
    assert_eq!(inspected.attributes["container_id"], inspect(&task.container())["Id"].as_str().unwrap());
    assert!(inspected.started_at.is_some() && inspected.completed_at.is_none());
    assert_eq!(ended.result.exit_code, 7);
    fixture.end().await;
}
