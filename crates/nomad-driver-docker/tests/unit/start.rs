//! How a task starts, and what is left of one that does not.

use std::time::Duration;

use fake_engine::{Image, Reply};
use nomad_plugin::driver::{Driver, Recoverability};
use serde_json::json;

use crate::case::{Case, IMAGE, container_name, failed, text};

#[tokio::test(start_paused = true)]
async fn a_task_with_a_local_image_runs_in_a_container_of_its_name_and_limits() {
    let case = Case::new().await;
    let task = case.task_with("web", [("hostname", text("front"))]);

    let started = case.start(&task).await;

    let container = case.container_of(&task);
    assert!(container.is_running());
    assert_eq!(container.request["Hostname"], json!("front"));
    assert_eq!(container.request["HostConfig"]["Memory"], json!(128 << 20));
    assert_eq!(container.image_id, Image::named(IMAGE).id);
    assert_eq!(started.handle.config.id, task.id);
    let calls: Vec<String> = case.requests("*").into_iter().map(|call| call.path).collect();
    assert_eq!(calls.iter().filter(|path| path.ends_with("/start")).count(), 1, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_started_is_removed() {
    let case = Case::new().await;
    let task = case.task("web");
    case.engine.on("POST /containers/*/start").always(Reply::error(500, "OCI runtime create failed: no such file"));

    let error = failed(case.driver.start_task(task.clone()).await);

    assert!(error.message.contains("OCI runtime create failed"), "{error}");
    assert_eq!(error.recoverability, Recoverability::Fatal);
    assert_eq!(case.names(), Vec::<String>::new());
    let unknown = failed(case.driver.inspect_task(task.id).await);
    assert_eq!(unknown.message, "task not found for given id");
}

#[tokio::test(start_paused = true)]
async fn a_task_starts_after_a_start_that_failed() {
    let case = Case::new().await;
    let task = case.task("web");
    case.engine.on("POST /containers/*/start").once(Reply::error(500, "no space left on device"));
    failed(case.driver.start_task(task.clone()).await);

    case.start(&task).await;

    assert!(case.container_of(&task).is_running());
}
