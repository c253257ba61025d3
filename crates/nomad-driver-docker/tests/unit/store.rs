//! Which tasks the driver knows, and which starts yield to which calls.

use std::time::Duration;

use fake_engine::{Image, Reply};
use nomad_plugin::driver::{Driver, Force, Recoverability};

use crate::case::{Case, failed, text};

#[tokio::test(start_paused = true)]
async fn a_second_start_of_a_task_that_runs_is_an_error_and_changes_nothing() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.engine.forget_requests();

    let error = failed(case.driver.start_task(task.clone()).await);

    assert_eq!(error.message, format!("task with ID {:?} already started", task.id.as_str()));
    assert_eq!(case.requests("POST *"), []);
    assert!(case.container_of(&task).is_running());
}

#[tokio::test(start_paused = true)]
async fn a_second_start_while_the_first_is_under_way_is_an_error() {
    let case = Case::new().await;
    let task = case.task("web");
    let (held, gate) = Reply::usual().held();
    case.engine.on("POST /containers/create").once(held);
    let second = async {
        case.engine.asked("POST /containers/create").await;
        let second = case.driver.start_task(task.clone()).await;
        gate.open();
        second
    };

    let (first, second) = tokio::join!(case.driver.start_task(task.clone()), second);

    first.unwrap();
    assert!(failed(second).message.contains("already started"));
    assert_eq!(case.engine.containers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_waits_for_its_image_gives_way_to_a_stop_or_a_destroy() {
    for stops in [true, false] {
        let case = Case::new().await;
        case.engine.add_to_registry(Image::named("registry.test/app:2"));
        case.engine.on("POST /images/create").always(Reply::hang());
        let task = case.task_with("web", [("image", text("registry.test/app:2"))]);
        let gives_way = async {
            case.engine.asked("POST /images/create").await;
            if stops {
                case.driver.stop_task(task.id.clone(), Duration::from_secs(5), String::new()).await.unwrap();
            } else {
                case.driver.destroy_task(task.id.clone(), Force::Yes).await.unwrap();
            }
        };

        let (started, ()) = tokio::join!(case.driver.start_task(task.clone()), gives_way);

        let error = failed(started);
        assert_eq!(error.message, "the task was stopped while it waited for its image");
        assert_eq!(error.recoverability, Recoverability::Recoverable);
        assert_eq!(case.requests("POST /containers/create"), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_makes_its_container_does_not_give_way() {
    let case = Case::new().await;
    let task = case.task("web");
    let (held, gate) = Reply::usual().held();
    case.engine.on("POST /containers/create").once(held);
    let stops = async {
        case.engine.asked("POST /containers/create").await;
        let stopped = case.driver.stop_task(task.id.clone(), Duration::from_secs(5), String::new()).await;
        gate.open();
        stopped
    };

    let (started, stopped) = tokio::join!(case.driver.start_task(task.clone()), stops);

    started.unwrap();
    assert_eq!(failed(stopped).message, "task not found for given id");
    assert!(case.container_of(&task).is_running());
}

#[tokio::test(start_paused = true)]
async fn every_call_for_an_unknown_task_is_the_error_that_hosts_know() {
    let case = Case::new().await;
    let id = case.task("web").id;
    let driver = &case.driver;
    let second = Duration::from_secs(1);

    let errors = [
        failed(driver.wait_task(id.clone()).await),
        failed(driver.stop_task(id.clone(), second, String::new()).await),
        failed(driver.destroy_task(id.clone(), Force::No).await),
        failed(driver.inspect_task(id.clone()).await),
        failed(driver.task_stats(id.clone(), second).await),
        failed(driver.signal_task(id.clone(), "SIGHUP".into()).await),
        failed(driver.exec_task(id, vec!["true".into()], second).await),
    ];

    assert!(errors.iter().all(|error| error.message == "task not found for given id"), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_may_be_started_again_after_it_was_destroyed() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.driver.destroy_task(task.id.clone(), Force::Yes).await.unwrap();

    case.start(&task).await;

    assert_eq!(case.engine.containers().len(), 1);
    assert!(case.container_of(&task).is_running());
}
