//! How another process of the driver recovers a task.

use std::time::Duration;

use fake_engine::{OnSignal, Reply, State};
use nomad_plugin::driver::{Driver, Force, Recoverability, StartedTask, TaskConfig, TaskHandle, TaskState};
use serde_json::json;
use tokio::time::Instant;

use crate::case::{Case, IMAGE, container_name, failed, faults};

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

    let began = Instant::now();
    let error = failed(case.driver.recover_task(started.handle).await);

    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
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

/// Recovers a task, which must succeed soon.
async fn recover(case: &Case, started: &StartedTask, why: &str) {
    let began = Instant::now();
    case.driver.recover_task(started.handle.clone()).await.expect(why);
    assert!(began.elapsed() < Duration::from_secs(6), "{why}: {:?}", began.elapsed());
}

/// Whether a task is still running as far as its host knows, for a while.
async fn runs_on(case: &Case, task: &TaskConfig) -> bool {
    tokio::time::timeout(Duration::from_secs(600), case.driver.wait_task(task.id.clone())).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_task_is_recovered_while_the_engine_is_away_and_is_complete_when_it_is_back() {
    let (case, task, started) = abandoned().await;
    let container = case.container_of(&task).id;
    case.engine.stop();

    recover(&case, &started, "away").await;
    assert!(runs_on(&case, &task).await);
    let unmeasured = failed(case.driver.task_stats(task.id.clone(), Duration::from_secs(1)).await);
    case.engine.serve();
    case.subscribed().await;
    case.pass(Duration::from_secs(5)).await;

    assert_eq!(unmeasured.recoverability, Recoverability::Recoverable);
    let inspected = case.driver.inspect_task(task.id.clone()).await.unwrap();
    assert_eq!((inspected.state, &inspected.attributes["container_id"]), (TaskState::Running, &container));
    assert!(inspected.started_at.is_some());
    assert_eq!(inspected.network, started.network);
    assert_eq!(case.requests("POST /containers/*/start").len(), 1);
    case.engine.exit(&container, 4);
    assert_eq!(case.wait(&task).await.result.exit_code, 4);
}

#[tokio::test(start_paused = true)]
async fn an_end_before_the_engine_is_back_is_reported_with_its_code_and_a_removal_as_such() {
    let removed = "the container was removed by someone else while the task ran";
    for (code, error) in [(5, "Docker container exited with non-zero exit code: 5"), (137, removed)] {
        let (case, task, started) = abandoned().await;
        let container = case.container_of(&task).id;
        case.engine.stop();
        recover(&case, &started, error).await;

        if error == removed {
            case.engine.remove(&container);
        } else {
            case.engine.exit_without_event(&container, code);
        }
        assert!(runs_on(&case, &task).await);
        case.engine.serve();
        let end = case.wait(&task).await;

        assert_eq!((i64::from(end.result.exit_code), end.error.as_str()), (code, error));
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_recovered_however_the_first_look_fails() {
    for (fault, reply) in faults() {
        for call in ["GET /containers/*/json", "GET /info", "GET /version"] {
            let (case, task, started) = abandoned().await;
            case.engine.on(call).times(2, reply.clone());
            let why = format!("{fault} at {call}");

            recover(&case, &started, &why).await;
            case.pass(Duration::from_secs(120)).await;
            case.engine.exit(&case.container_of(&task).id, 4);

            assert_eq!(case.wait(&task).await.result.exit_code, 4, "{why}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_recovered_without_the_engine_is_stopped_by_its_signal_when_that_is_back() {
    let mut case = Case::new().await;
    case.engine.set_on_signal(OnSignal::Exit(9));
    case.engine.on("POST /containers/create").once(Reply::usual().after(|engine| {
        let made = engine.containers().remove(0);
        engine.change(&made.id, |made| made.request["StopSignal"] = json!("SIGINT"));
    }));
    let task = case.task("web");
    let started = case.start(&task).await;
    case.kill_driver().await;
    case.engine.stop();
    recover(&case, &started, "away").await;
    let five = Duration::from_secs(5);

    let away = failed(case.driver.stop_task(task.id.clone(), five, String::new()).await);
    case.engine.serve();
    case.driver.stop_task(task.id.clone(), five, String::new()).await.unwrap();

    assert!(away.message.starts_with("Failed to stop container"), "{away}");
    assert_eq!(case.requests("POST /containers/*/kill").last().unwrap().query("signal"), "SIGINT");
    assert_eq!(case.wait(&task).await.result.exit_code, 9);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_recovered_without_the_engine_is_destroyed_without_it() {
    let (case, task, started) = abandoned().await;
    case.engine.stop();
    recover(&case, &started, "away").await;

    case.driver.destroy_task(task.id.clone(), Force::Yes).await.unwrap();
    assert_eq!(failed(case.driver.wait_task(task.id.clone()).await).message, "task not found for given id");
    case.engine.serve();

    case.engine.until("the container is removed", |engine| engine.containers().is_empty()).await;
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
