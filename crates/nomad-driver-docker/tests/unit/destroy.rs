//! How a task is destroyed, whatever its engine does.

use std::time::Duration;

use fake_engine::{OnSignal, Reply, State};
use nomad_plugin::{
    driver::{Driver, Force, Recoverability, TaskConfig},
    msgpack::Value,
};
use tokio::time::{Instant, timeout};

use crate::case::{Case, container_name, failed, faults, object};

const MINUTE: Duration = Duration::from_secs(60);
const UNKNOWN: &str = "task not found for given id";

/// A task that runs, or has exited.
async fn started(case: &Case, runs: bool) -> TaskConfig {
    case.engine.set_on_signal(OnSignal::Ignore);
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    if !runs {
        case.engine.exit(&case.container_of(&task).id, 0);
        case.wait(&task).await;
    }
    task
}

/// A driver that leaves the containers of destroyed tasks.
async fn leaving() -> Case {
    Case::with([("gc", object([("container", Value::Bool(false))]))]).await
}

/// Destroys a task by force, which must succeed soon; the driver does not know it any more.
async fn destroy(case: &Case, task: &TaskConfig, why: &str) {
    let began = Instant::now();
    case.driver.destroy_task(task.id.clone(), Force::Yes).await.expect(why);
    assert!(began.elapsed() < Duration::from_secs(18), "{why}: {:?}", began.elapsed());
    assert_eq!(failed(case.driver.inspect_task(task.id.clone()).await).message, UNKNOWN, "{why}");
}

/// The containers that are recorded as created, and those that are recorded as destroyed.
fn recorded(case: &Case) -> (usize, usize) {
    let count = |of: &str| std::fs::read_dir(case.state_dir().join(of)).map_or(0, Iterator::count);
    (count("containers"), count("destroyed"))
}

async fn nothing_is_left(case: &Case, why: &str) {
    case.engine.until(why, |engine| engine.containers().is_empty()).await;
    case.pass(5 * MINUTE).await;
    assert_eq!(recorded(case), (0, 0), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_runs_is_destroyed_by_force_alone() {
    let case = Case::new().await;
    let task = started(&case, true).await;

    let error = failed(case.driver.destroy_task(task.id.clone(), Force::No).await);
    assert!(error.message.contains("must call StopTask"), "{error}");
    assert!(case.container_of(&task).is_running());
    destroy(&case, &task, "by force").await;

    assert_eq!(case.names(), [""; 0]);
    assert_eq!(failed(case.driver.destroy_task(task.id, Force::Yes).await).message, UNKNOWN);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_exited_is_destroyed_without_force_and_without_a_look() {
    let case = Case::new().await;
    let task = started(&case, false).await;
    case.engine.on("GET /containers/*/json").always(Reply::error(500, "no"));

    case.driver.destroy_task(task.id.clone(), Force::No).await.unwrap();

    assert_eq!(case.names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_looked_at_is_not_destroyed_without_force_and_may_be_tried_again() {
    let case = Case::new().await;
    let task = started(&case, true).await;
    case.engine.stop();
    let began = Instant::now();

    let error = failed(case.driver.destroy_task(task.id.clone(), Force::No).await);
    case.engine.serve();

    assert!(error.message.starts_with("failed to inspect container state: "), "{error}");
    assert_eq!(error.recoverability, Recoverability::Recoverable);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(case.container_of(&task).is_running());
    destroy(&case, &task, "by force").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_destroyed_task_is_left_whichever_call_fails_and_how() {
    for (fault, reply) in faults() {
        for (call, times, runs) in [
            ("GET /containers/*/json", 1, true),
            ("DELETE /containers/*", 1, true),
            ("DELETE /containers/*", 1, false),
            ("DELETE /containers/*", 3, true),
        ] {
            let case = Case::new().await;
            let task = started(&case, runs).await;
            case.engine.on(call).times(times, reply.clone());
            let why = format!("{fault} at {call}, {times} times, runs: {runs}");

            destroy(&case, &task, &why).await;

            nothing_is_left(&case, &why).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_task_is_destroyed_while_the_engine_is_away_is_removed_when_it_is_back() {
    let case = Case::new().await;
    let task = started(&case, true).await;
    case.engine.stop();

    destroy(&case, &task, "the engine is away").await;
    case.pass(60 * MINUTE).await;
    assert_eq!(recorded(&case), (1, 1));
    case.engine.serve();

    nothing_is_left(&case, "the engine is back").await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_the_engine_does_not_remove_is_tried_for_good_with_growing_pauses() {
    let case = Case::new().await;
    let task = started(&case, false).await;
    case.engine.on("DELETE /containers/*").always(Reply::error(500, "device or resource busy"));

    destroy(&case, &task, "busy").await;
    case.pass(60 * MINUTE).await;
    let tries = case.requests("DELETE /containers/*").len();
    case.engine.on("DELETE /containers/*").usual();

    assert!((60..70).contains(&tries), "{tries}");
    nothing_is_left(&case, "free again").await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_not_to_be_removed_is_killed_all_the_same() {
    for (fault, reply) in faults() {
        let case = leaving().await;
        let task = started(&case, true).await;
        case.engine.on("POST /containers/*/kill").times(2, reply);

        destroy(&case, &task, fault).await;

        let is_killed = State::Exited { code: 137, oom_killed: false };
        case.engine.until(fault, |engine| engine.containers()[0].state == is_killed).await;
        case.pass(2 * MINUTE).await;
        assert_eq!((recorded(&case), case.requests("DELETE *").len()), ((1, 0), 0), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_not_to_be_removed_and_has_exited_is_left_as_it_is() {
    let case = leaving().await;
    let task = started(&case, false).await;

    destroy(&case, &task, "exited").await;

    assert_eq!(case.container_of(&task).state, State::Exited { code: 0, oom_killed: false });
    assert_eq!(recorded(&case), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_started_again_does_not_get_the_container_that_is_to_be_removed() {
    let case = Case::new().await;
    let task = started(&case, true).await;
    let first = case.container_of(&task).id;
    case.engine.on("DELETE /containers/*").times(5, Reply::error(500, "busy"));
    destroy(&case, &task, "busy").await;
    assert!(case.container_of(&task).is_running());

    let again = TaskConfig { id: format!("{}b", task.id).into(), ..task.clone() };
    let error = timeout(MINUTE, case.driver.start_task(again.clone())).await.unwrap().err();
    if error.is_some() {
        case.start(&again).await;
    }
    case.pass(3 * MINUTE).await;

    assert_ne!(case.container_of(&task).id, first);
    assert!(case.container_of(&task).is_running());
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_task_is_not_recovered() {
    let mut case = Case::new().await;
    let task = case.task("web");
    let handle = case.start(&task).await.handle;
    case.engine.on("DELETE /containers/*").always(Reply::error(500, "busy"));
    destroy(&case, &task, "busy").await;
    case.kill_driver().await;

    let error = failed(case.driver.recover_task(handle).await);

    assert_eq!(error.message, "the task was destroyed; its container is being removed");
    assert_ne!(error.recoverability, Recoverability::Recoverable);
}

#[tokio::test(start_paused = true)]
async fn the_next_process_removes_the_container_of_a_destroyed_task() {
    let mut case = Case::new().await;
    let task = started(&case, true).await;
    let container = case.container_of(&task).id;
    // As a process leaves it that was killed before the engine was back.
    case.kill_driver().await;
    let destroyed = case.state_dir().join("destroyed");
    std::fs::create_dir_all(&destroyed).unwrap();
    std::fs::write(destroyed.join(container), container_name(&task)).unwrap();

    let _fingerprints = case.driver.fingerprint().await.unwrap();

    nothing_is_left(&case, "the next process").await;
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_left_of_an_unknown_task_is_ended_when_the_engine_is_back() {
    for starts_again in [false, true] {
        let mut case = Case::new().await;
        let task = started(&case, true).await;
        let first = case.container_of(&task).id;
        case.kill_driver().await;
        // The node is known by a task.
        case.start(&case.task("other")).await;
        case.engine.stop();

        let error = failed(case.driver.destroy_task(task.id.clone(), Force::Yes).await);
        case.pass(MINUTE).await;
        case.engine.serve();
        if starts_again {
            case.start(&task).await;
        }
        case.pass(3 * MINUTE).await;

        assert_eq!(error.message, UNKNOWN);
        assert_eq!(case.engine.container(&first).is_some(), starts_again);
        assert!(case.container_of(&case.task("other")).is_running());
    }
}
