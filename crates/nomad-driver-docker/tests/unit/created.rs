//! A container between its creation and its commit: whose name it may take, and what is retried.

use std::time::Duration;

use fake_engine::{Container, Reply};
use nomad_plugin::driver::{Driver, Recoverability, TaskConfig};
use serde_json::json;
use tokio::time::Instant;

use crate::case::{ALLOC, Case, IMAGE, NODE, container_name, failed, faults};

#[tokio::test(start_paused = true)]
async fn a_strangers_container_of_the_name_is_kept_and_the_start_fails_after_its_attempts() {
    let case = Case::new().await;
    let task = case.task("web");
    let stranger = case.engine.create(&container_name(&task), json!({ "Image": IMAGE }));
    case.engine.run(&stranger);

    let error = failed(case.driver.start_task(task).await);

    assert!(error.message.contains("is already in use by container"), "{error}");
    assert_eq!(case.requests("POST /containers/create").len(), 6, "once, and five attempts more");
    assert!(case.engine.container(&stranger).unwrap().is_running());
    assert_eq!(case.requests("DELETE *"), []);
}

#[tokio::test(start_paused = true)]
async fn a_strangers_container_that_leaves_the_name_in_time_is_no_failure() {
    let case = Case::new().await;
    let task = case.task("web");
    let stranger = case.engine.create(&container_name(&task), json!({ "Image": IMAGE }));
    let leaves = async {
        case.engine.asked_times("POST /containers/create", 3).await;
        case.engine.remove(&stranger);
    };

    let (started, ()) = tokio::join!(case.driver.start_task(task.clone()), leaves);

    started.unwrap();
    assert_ne!(case.container_of(&task).id, stranger);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_of_the_task_left_is_replaced() {
    let mut case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    let first = case.container_of(&task).id;
    case.kill_driver().await;
    case.engine.exit(&first, 1);

    case.start(&task).await;

    assert_eq!(case.engine.container(&first), None);
    assert!(case.container_of(&task).is_running());
    assert_eq!(case.engine.containers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_attempt_started_is_adopted_and_not_started_again() {
    let mut case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    let first = case.container_of(&task).id;
    case.kill_driver().await;

    case.start(&task).await;

    assert_eq!(case.container_of(&task).id, first);
    assert_eq!(case.requests("POST /containers/*/start").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_container_of_the_allocation_and_image_is_the_tasks_although_nothing_was_noted() {
    let case = Case::new().await;
    let task = case.task("web");
    let labels = json!({ "com.hashicorp.nomad.alloc_id": ALLOC, "com.hashicorp.nomad.node_id": NODE });
    let left = case.engine.create(&container_name(&task), json!({ "Image": IMAGE, "Labels": labels }));

    case.start(&task).await;

    assert_eq!(case.engine.container(&left), None);
    assert_eq!(case.engine.containers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_breaks_connections_at_create_is_asked_six_times_with_growing_pauses() {
    let case = Case::new().await;
    case.engine.on("POST /containers/create").always(Reply::drop_connection());
    let began = Instant::now();

    let error = failed(case.driver.start_task(case.task("web")).await);

    assert_eq!(error.recoverability, Recoverability::Recoverable);
    assert_eq!(case.requests("POST /containers/create").len(), 6);
    // 100, 200, 400, 800 and 1600 ms.
    assert!(began.elapsed().as_millis() >= 3100, "{:?}", began.elapsed());
}

/// Starts a task while a call fails, as an agent does: what may be tried again is, under a new id.
async fn started_as_an_agent_does(case: &Case, task: &TaskConfig, why: &str) -> Option<TaskConfig> {
    for run in 0..3 {
        let task = TaskConfig { id: format!("{}{run}", task.id).into(), ..task.clone() };
        match case.driver.start_task(task.clone()).await {
            Ok(_) => return Some(task),
            Err(error) if error.recoverability == Recoverability::Recoverable => {}
            Err(error) => {
                assert_eq!(error.recoverability, Recoverability::Fatal, "{why}: {error}");
                return None;
            }
        }
    }
    panic!("{why}: three attempts failed");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_fails_leaves_one_container_or_none_however_often_and_how_it_fails() {
    for (fault, reply) in faults() {
        for times in [1, 6] {
            let case = Case::new().await;
            let task = case.task("web");
            case.engine.on("POST /containers/create").times(times, reply.clone());

            let why = format!("{fault}, {times} times");
            let started = started_as_an_agent_does(&case, &task, &why).await;
            case.pass(Duration::from_secs(120)).await;

            let count = case.engine.containers().len();
            assert_eq!(count, usize::from(started.is_some()), "{why}");
            assert_eq!(started.is_none(), fault.starts_with("an error"), "{why}");
            let runs = case.engine.containers().iter().all(Container::is_running);
            assert!(runs, "{why}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_may_have_had_its_effect_when_the_engine_goes_away_leaves_nothing() {
    let case = Case::new().await;
    case.engine.on("POST /containers/create").once(Reply::stop_engine_after());

    let error = failed(case.driver.start_task(case.task("web")).await);
    case.pass(Duration::from_secs(600)).await;
    assert_eq!(case.engine.containers().len(), 1);
    case.engine.serve();

    assert_eq!(error.recoverability, Recoverability::Recoverable);
    case.engine.until("nothing is left", |engine| engine.containers().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_its_host_gives_up_during_the_create_leaves_nothing() {
    let case = Case::new().await;
    case.engine.on("POST /containers/create").once(Reply::hang_after());
    let asked = async {
        case.engine.until("the container", |engine| engine.containers().len() == 1).await;
    };

    tokio::select! {
        _ = case.driver.start_task(case.task("web")) => panic!("the engine hangs"),
        () = asked => {}
    }

    case.engine.until("nothing is left", |engine| engine.containers().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_unanswered_create_may_have_left_is_not_removed_if_it_is_somebodys() {
    for (labels, runs) in [
        (json!({}), false),
        (json!({ "com.hashicorp.nomad.alloc_id": ALLOC, "com.hashicorp.nomad.node_id": "another" }), false),
        (json!({ "com.hashicorp.nomad.alloc_id": ALLOC, "com.hashicorp.nomad.node_id": NODE }), true),
    ] {
        let case = Case::new().await;
        let task = case.task("web");
        let name = container_name(&task);
        case.engine.on("POST /containers/create").always(Reply::drop_connection());
        failed(case.driver.start_task(task).await);

        let other = case.engine.create(&name, json!({ "Image": IMAGE, "Labels": labels }));
        if runs {
            case.engine.run(&other);
        }
        case.pass(Duration::from_secs(120)).await;

        assert!(case.engine.container(&other).is_some(), "{labels}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mistake_in_the_request_is_fatal_and_made_once() {
    let case = Case::new().await;
    case.engine.on("POST /containers/create").always(Reply::error(400, "invalid mount config"));

    let error = failed(case.driver.start_task(case.task("web")).await);

    assert_eq!(error.message, "failed to create container: Error response from daemon: invalid mount config");
    assert_eq!(error.recoverability, Recoverability::Fatal);
    assert_eq!(case.requests("POST /containers/create").len(), 1);
}
