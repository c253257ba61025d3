//! How another process of the driver recovers a task.

use std::time::Duration;

use fake_engine::{Reply, State};
use nomad_plugin::driver::{Driver, Force, Recoverability, StartedTask, TaskConfig, TaskHandle, TaskState};
use serde_json::json;

use crate::case::{Case, IMAGE, container_name, failed};

/// A task started by a process that has died.
async fn abandoned() -> (Case, TaskConfig, StartedTask) {
    let mut case = Case::new().await;
    let task = case.task("web");
    let started = case.start(&task).await;
    case.kill_driver().await;
    (case, task, started)
}

#[tokio::test(start_paused = true)]
async fn a_container_that_runs_is_watched_again_and_neither_made_nor_started() {
    let (case, task, started) = abandoned().await;
    let container = case.container_of(&task).id;
    case.engine.forget_requests();

    case.driver.recover_task(started.handle).await.unwrap();

    let inspected = case.driver.inspect_task(task.id.clone()).await.unwrap();
    assert_eq!((inspected.state, &inspected.attributes["container_id"]), (TaskState::Running, &container));
    assert_eq!(case.requests("POST *"), []);
    case.engine.exit(&container, 4);
    assert_eq!(case.wait(&task).await.result.exit_code, 4);
}

#[tokio::test(start_paused = true)]
async fn a_handle_from_an_agents_disk_has_no_configuration_of_the_driver() {
    let (case, task, started) = abandoned().await;
    let mut handle = started.handle;
    handle.config.driver_config.clear();

    case.driver.recover_task(handle).await.unwrap();

    case.driver.stop_task(task.id.clone(), Duration::from_secs(5), String::new()).await.unwrap();
    assert_eq!(case.wait(&task).await.result.exit_code, 143);
}

#[tokio::test(start_paused = true)]
async fn an_end_while_no_driver_watched_is_reported_at_once() {
    let (case, task, started) = abandoned().await;
    case.engine.exit(&case.container_of(&task).id, 5);

    case.driver.recover_task(started.handle).await.unwrap();
    let end = case.wait(&task).await;

    assert_eq!((end.result.exit_code, end.error.as_str()), (5, "Docker container exited with non-zero exit code: 5"));
}

#[tokio::test(start_paused = true)]
async fn an_end_for_want_of_memory_while_no_driver_watched_is_reported_as_such() {
    let (case, task, started) = abandoned().await;
    case.engine.run_out_of_memory(&case.container_of(&task).id);

    case.driver.recover_task(started.handle).await.unwrap();

    assert_eq!(case.wait(&task).await.error, "OOM Killed");
}

#[tokio::test(start_paused = true)]
async fn an_end_during_the_recovery_is_not_missed() {
    let (case, task, started) = abandoned().await;
    let container = case.container_of(&task).id;
    case.engine.on("GET /containers/*/json").once(Reply::usual().after(move |engine| engine.exit(&container, 6)));

    case.driver.recover_task(started.handle).await.unwrap();

    assert_eq!(case.wait(&task).await.result.exit_code, 6);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_not_there_any_more_fails_the_recovery_for_good() {
    let (case, task, started) = abandoned().await;
    case.engine.remove(&case.container_of(&task).id);

    let error = failed(case.driver.recover_task(started.handle).await);

    assert!(error.message.contains("No such container"), "{error}");
    assert_ne!(error.recoverability, Recoverability::Recoverable);
    assert_eq!(failed(case.driver.wait_task(task.id.clone()).await).message, "task not found for given id");
    case.start(&TaskConfig { id: format!("{}b", task.id).into(), ..task.clone() }).await;
}

#[tokio::test(start_paused = true)]
async fn another_container_of_the_name_is_not_taken_for_the_tasks() {
    let (case, task, started) = abandoned().await;
    case.engine.remove(&case.container_of(&task).id);
    let other = case.engine.create(&container_name(&task), json!({ "Image": IMAGE }));
    case.engine.run(&other);

    let error = failed(case.driver.recover_task(started.handle).await);

    assert!(error.message.contains("No such container"), "{error}");
    assert!(case.engine.container(&other).unwrap().is_running());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_fails_the_recovery_for_now_and_a_later_one_succeeds() {
    let (case, task, started) = abandoned().await;
    case.engine.stop();

    let error = failed(case.driver.recover_task(started.handle.clone()).await);
    case.engine.serve();
    case.driver.recover_task(started.handle).await.unwrap();

    assert_eq!(error.recoverability, Recoverability::Recoverable);
    assert_eq!(case.driver.inspect_task(task.id).await.unwrap().state, TaskState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_known_is_recovered_without_a_question() {
    let case = Case::new().await;
    let task = case.task("web");
    let started = case.start(&task).await;
    case.subscribed().await;
    case.engine.forget_requests();

    case.driver.recover_task(started.handle).await.unwrap();

    assert_eq!(case.requests("GET /containers/*"), []);
    case.engine.exit(&case.container_of(&task).id, 1);
    assert_eq!(case.wait(&task).await.result.exit_code, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_names_no_container_is_an_error() {
    let case = Case::new().await;
    let handle = TaskHandle { config: case.task("web"), driver_state: vec![0x80], ..TaskHandle::default() };

    let error = failed(case.driver.recover_task(handle).await);

    assert_eq!(error.message, "failed to decode driver task state: it names no container");
}

#[tokio::test(start_paused = true)]
async fn a_recovered_task_is_stopped_and_destroyed_like_any_other() {
    let (case, task, started) = abandoned().await;
    case.driver.recover_task(started.handle).await.unwrap();

    case.driver.stop_task(task.id.clone(), Duration::from_secs(5), "SIGTERM".into()).await.unwrap();
    assert_eq!(case.container_of(&task).state, State::Exited { code: 143, oom_killed: false });
    case.driver.destroy_task(task.id.clone(), Force::Yes).await.unwrap();

    assert_eq!(case.names(), [""; 0]);
}
