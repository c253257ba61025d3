//! A container between its creation and its commit: whose name it may take, and what is retried.

use fake_engine::Reply;
use nomad_plugin::driver::{Driver, Recoverability};
use serde_json::json;
use tokio::time::Instant;

use crate::case::{ALLOC, Case, IMAGE, NODE, container_name, failed};

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

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_leaves_one_container() {
    let case = Case::new().await;
    let task = case.task("web");
    case.engine.on("POST /containers/create").once(Reply::lose_answer());

    case.start(&task).await;

    assert_eq!(case.engine.containers().len(), 1);
    assert!(case.container_of(&task).is_running());
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
