//! How a task is stopped and signalled.

use std::time::Duration;

use fake_engine::{OnSignal, Reply, Request};
use nomad_plugin::driver::{Driver, TaskConfig, TaskState};
use tokio::time::Instant;

use crate::case::{Case, failed};

/// A running task; its process reacts to a signal like this.
async fn running(on_signal: OnSignal) -> (Case, TaskConfig) {
    let case = Case::new().await;
    case.engine.set_on_signal(on_signal);
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    (case, task)
}

fn signals(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.query("signal")).collect()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn without_a_signal_the_engine_stops_the_container_with_the_grace_in_whole_seconds() {
    let (case, task) = running(OnSignal::Exit(0)).await;

    case.driver.stop_task(task.id.clone(), Duration::from_millis(4100), String::new()).await.unwrap();

    let stops = case.requests("POST /containers/*/stop");
    assert_eq!(stops.iter().map(|stop| stop.query("t")).collect::<Vec<_>>(), ["5"]);
    assert_eq!(case.requests("POST /containers/*/kill"), []);
    assert_eq!(case.wait(&task).await.result.exit_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_signal_of_the_jobs_is_sent_and_no_kill_follows_an_end_in_time() {
    let (case, task) = running(OnSignal::Exit(2)).await;

    case.driver.stop_task(task.id.clone(), MINUTE, "SIGINT".into()).await.unwrap();

    assert_eq!(signals(&case.requests("POST /containers/*/kill")), ["SIGINT"]);
    assert_eq!(case.wait(&task).await.result.exit_code, 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ignores_its_signal_is_killed_when_its_time_is_over() {
    let (case, task) = running(OnSignal::Ignore).await;
    let began = Instant::now();

    case.driver.stop_task(task.id.clone(), Duration::from_secs(20), "SIGTERM".into()).await.unwrap();

    assert_eq!(signals(&case.requests("POST /containers/*/kill")), ["SIGTERM", "SIGKILL"]);
    assert!((20..22).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let end = case.wait(&task).await;
    assert_eq!((end.result.exit_code, end.result.oom_killed), (137, false));
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_is_a_kill_at_once() {
    let (case, task) = running(OnSignal::Ignore).await;
    let began = Instant::now();

    case.driver.stop_task(task.id.clone(), Duration::ZERO, "SIGTERM".into()).await.unwrap();

    assert_eq!(signals(&case.requests("POST /containers/*/kill")), ["SIGKILL"]);
    assert!(began.elapsed() < Duration::from_secs(1), "our own kill waits for no word of the kernel's");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_ended_is_stopped_at_once() {
    for signal in ["", "SIGTERM"] {
        let (case, task) = running(OnSignal::Ignore).await;
        case.engine.exit(&case.container_of(&task).id, 3);
        case.wait(&task).await;
        let began = Instant::now();

        case.driver.stop_task(task.id.clone(), MINUTE, signal.into()).await.unwrap();

        assert!(began.elapsed() < Duration::from_secs(1), "{signal:?}: {:?}", began.elapsed());
        assert_eq!(case.wait(&task).await.result.exit_code, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_container_was_removed_is_stopped() {
    for signal in ["", "SIGTERM"] {
        let (case, task) = running(OnSignal::Ignore).await;
        case.engine.remove(&case.container_of(&task).id);

        case.driver.stop_task(task.id.clone(), MINUTE, signal.into()).await.unwrap();

        assert_eq!(case.wait(&task).await.result.exit_code, 137);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_outlives_a_restart_of_the_engine() {
    let (case, task) = running(OnSignal::Exit(0)).await;
    case.engine.on("POST /containers/*/stop").once(Reply::stop_engine());
    let returns = async {
        case.engine.asked("POST /containers/*/stop").await;
        case.pass(Duration::from_secs(20)).await;
        case.engine.serve();
    };

    let (stopped, ()) = tokio::join!(case.driver.stop_task(task.id.clone(), MINUTE, String::new()), returns);

    stopped.unwrap();
    assert_eq!(case.requests("POST /containers/*/stop").len(), 2);
    assert_eq!(case.wait(&task).await.result.exit_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_fails_when_the_engine_is_away_for_more_than_the_grace_and_a_minute() {
    let (case, task) = running(OnSignal::Exit(0)).await;
    case.engine.stop();
    let began = Instant::now();

    let error = failed(case.driver.stop_task(task.id.clone(), MINUTE, String::new()).await);

    assert!(error.message.starts_with("Failed to stop container "), "{error}");
    assert!((120..125).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(case.container_of(&task).is_running());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_at_a_stop_is_given_the_grace_and_a_minute() {
    let (case, task) = running(OnSignal::Exit(0)).await;
    case.engine.on("POST /containers/*/stop").once(Reply::hang());
    let began = Instant::now();

    let error = failed(case.driver.stop_task(task.id.clone(), MINUTE, String::new()).await);

    assert!(error.message.contains("no answer from the Docker daemon within 120 s"), "{error}");
    assert!((120..125).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_container_that_outlives_its_kill_is_reported() {
    let (case, task) = running(OnSignal::Ignore).await;
    case.engine.on("POST /containers/*/kill").always(Reply::json(204, serde_json::Value::Null));

    let error = failed(case.driver.stop_task(task.id.clone(), Duration::ZERO, String::new()).await);

    assert!(error.message.ends_with("still runs 60 s after it was killed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_sent_to_the_container_and_an_unknown_one_is_not() {
    let (case, task) = running(OnSignal::Ignore).await;

    case.driver.signal_task(task.id.clone(), "SIGUSR1".into()).await.unwrap();
    failed(case.driver.signal_task(task.id.clone(), "SIGNONE".into()).await);
    failed(case.driver.stop_task(task.id.clone(), MINUTE, "SIGNONE".into()).await);

    assert_eq!(signals(&case.requests("POST /containers/*/kill")), ["SIGUSR1"]);
    assert!(case.container_of(&task).is_running());
}

#[tokio::test(start_paused = true)]
async fn a_signal_to_a_task_that_has_ended_fails() {
    let (case, task) = running(OnSignal::Ignore).await;
    case.engine.exit(&case.container_of(&task).id, 0);

    let error = failed(case.driver.signal_task(task.id.clone(), "SIGUSR1".into()).await);

    assert!(error.message.contains("is not running"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_inspect_says_how_the_task_is() {
    let (case, task) = running(OnSignal::Exit(9)).await;
    let before = case.driver.inspect_task(task.id.clone()).await.unwrap();

    case.driver.stop_task(task.id.clone(), MINUTE, "SIGTERM".into()).await.unwrap();
    let after = case.driver.inspect_task(task.id.clone()).await.unwrap();

    assert_eq!(before.state, TaskState::Running);
    assert_eq!(before.attributes["container_id"], case.container_of(&task).id);
    assert!(before.started_at.is_some() && before.completed_at.is_none());
    assert_eq!((after.result.exit_code, after.completed_at.is_some()), (9, true));
}
