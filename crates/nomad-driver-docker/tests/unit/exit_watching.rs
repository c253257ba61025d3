//! Everybody who waits for an exit is notified.

use std::time::Duration;

use nomad_plugin::{
    driver::{Driver, Force, TaskConfig},
    msgpack::Value,
};

use crate::case::{Case, failed, object};

#[tokio::test(start_paused = true)]
async fn each_of_several_waits_for_one_task_is_answered() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    let ends = async {
        case.subscribed().await;
        case.engine.exit(&case.container_of(&task).id, 7);
    };

    let (first, second, third, ()) = tokio::join!(case.wait(&task), case.wait(&task), case.wait(&task), ends);
    let late = case.wait(&task).await;

    for end in [first, second, third, late] {
        assert_eq!(end.result.exit_code, 7);
    }
}

#[tokio::test(start_paused = true)]
async fn two_recoveries_of_one_task_are_both_notified_of_its_end() {
    let mut case = Case::new().await;
    let task = case.task("web");
    let handle = case.start(&task).await.handle;
    case.kill_driver().await;
    let again = TaskConfig { id: format!("{}b", task.id).into(), ..task.clone() };

    case.driver.recover_task(handle.clone()).await.unwrap();
    let mut of_again = handle.clone();
    of_again.config = again.clone();
    case.driver.recover_task(of_again).await.unwrap();
    case.engine.exit(&case.container_of(&task).id, 8);
    let (first, second) = tokio::join!(case.wait(&task), case.wait(&again));

    assert_eq!((first.result.exit_code, second.result.exit_code), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn the_second_of_two_recoveries_is_notified_after_the_first_was_destroyed() {
    let mut case = Case::with([("gc", object([("container", Value::Bool(false))]))]).await;
    let task = case.task("web");
    let handle = case.start(&task).await.handle;
    case.kill_driver().await;
    case.driver.recover_task(handle.clone()).await.unwrap();
    let mut of_again = handle.clone();
    of_again.config.id = format!("{}b", task.id).into();
    let again = of_again.config.clone();
    case.driver.recover_task(of_again).await.unwrap();

    case.driver.destroy_task(task.id.clone(), Force::Yes).await.unwrap();
    let end = case.wait(&again).await;

    assert_eq!(end.result.exit_code, 137);
    assert_eq!(failed(case.driver.wait_task(task.id).await).message, "task not found for given id");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_task_that_is_destroyed_meanwhile_is_answered() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    let destroyed = async {
        case.subscribed().await;
        case.driver.destroy_task(task.id.clone(), Force::Yes).await.unwrap();
    };

    let waited =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(case.wait(&task), destroyed) }).await;

    assert!(waited.is_ok());
    assert_eq!(case.names(), [""; 0]);
}
