//! How a task starts, and what a failed start leaves.

use std::time::Duration;

use fake_engine::{FakeEngine, Image, Reply};
use nomad_plugin::driver::{Driver, Recoverability};
use serde_json::json;
use tokio::time::Instant;

use crate::case::{Case, IMAGE, event, failed, faults, text};

#[tokio::test(start_paused = true)]
async fn a_task_with_a_local_image_runs_after_one_create_one_start_and_one_inspect() {
    let case = Case::new().await;
    let task = case.task_with("web", [("hostname", text("front"))]);

    let started = case.start(&task).await;

    let container = case.container_of(&task);
    assert!(container.is_running());
    assert_eq!(container.image_id, Image::named(IMAGE).id);
    assert_eq!(container.request["Hostname"], json!("front"));
    assert_eq!(container.request["HostConfig"]["Memory"], json!(128 << 20));
    assert_eq!(started.handle.config.id, task.id);
    for once in ["POST /containers/create", "POST /containers/*/start", "GET /containers/*/json", "GET /images/*/json"]
    {
        assert_eq!(case.requests(once).len(), 1, "{once}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_missing_is_pulled_before_the_container_is_made() {
    let case = Case::new().await;
    case.engine.add_to_registry(Image::named("registry.test/app:2"));
    let task = case.task_with("web", [("image", text("registry.test/app:2"))]);

    case.start(&task).await;

    let pulls = case.requests("POST /images/create");
    assert_eq!(pulls.len(), 1);
    assert_eq!((pulls[0].query("fromImage"), pulls[0].query("tag")), ("registry.test/app", "2"));
    assert!(case.container_of(&task).is_running());
}

#[tokio::test(start_paused = true)]
async fn an_image_that_nobody_has_fails_the_start_and_nothing_is_made() {
    let case = Case::new().await;
    let task = case.task_with("web", [("image", text("nosuch:1"))]);

    let error = failed(case.driver.start_task(task.clone()).await);

    assert!(error.message.contains("pull access denied for nosuch"), "{error}");
    assert_eq!(case.requests("POST /containers/create"), []);
    assert_eq!(failed(case.driver.inspect_task(task.id).await).message, "task not found for given id");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_removed_before_the_container_is_made_may_be_tried_again() {
    let case = Case::new().await;
    case.engine.on("POST /containers/create").once(Reply::error(404, "No such image: busybox:1"));

    let error = failed(case.driver.start_task(case.task("web")).await);

    assert_eq!(error.message, "failed to create container: Error response from daemon: No such image: busybox:1");
    assert_eq!(error.recoverability, Recoverability::Recoverable);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_started_is_removed() {
    let case = Case::new().await;
    let task = case.task("web");
    case.engine.on("POST /containers/*/start").always(Reply::error(500, "OCI runtime create failed: no such file"));

    let error = failed(case.driver.start_task(task.clone()).await);

    assert!(error.message.contains("OCI runtime create failed"), "{error}");
    assert_eq!(error.recoverability, Recoverability::Fatal);
    assert_eq!(case.names(), [""; 0]);
    assert_eq!(failed(case.driver.inspect_task(task.id).await).message, "task not found for given id");
}

#[tokio::test(start_paused = true)]
async fn a_look_after_the_start_that_fails_is_repeated_and_the_program_runs_once() {
    for (fault, reply) in faults() {
        for times in [1, 3] {
            let case = Case::new().await;
            let task = case.task("web");
            case.engine.on("GET /containers/*/json").times(times, reply.clone());
            let why = format!("{fault}, {times} times");

            let started = case.driver.start_task(task.clone()).await.expect(&why);

            assert_eq!(started.handle.config.id, task.id);
            assert_eq!((starts(&case), case.container_of(&task).is_running()), (1, true), "{why}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_runs_is_started_although_the_engine_does_not_say_how_it_is_and_its_end_is_reported() {
    for ends in [false, true] {
        let case = Case::new().await;
        let task = case.task("web");
        case.engine.on("POST /containers/*/start").once(Reply::usual().after(FakeEngine::stop));

        let started = case.driver.start_task(task.clone()).await.unwrap();
        let container = case.container_of(&task).id;
        if ends {
            case.engine.exit_without_event(&container, 3);
        }
        case.engine.serve();
        case.subscribed().await;
        if !ends {
            case.engine.exit(&container, 3);
        }

        assert_eq!(case.wait(&task).await.result.exit_code, 3);
        assert_eq!(starts(&case), 1);
        assert_eq!(started.handle.config.id, task.id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_start_the_host_gives_up_is_removed() {
    let case = Case::new().await;
    case.engine.on("POST /containers/*/start").always(Reply::hang());
    let asked = case.engine.asked("POST /containers/*/start");

    tokio::select! {
        _ = case.driver.start_task(case.task("web")) => panic!("the engine hangs"),
        _ = asked => {}
    }

    case.engine.until("the container is removed", |engine| engine.containers().is_empty()).await;
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

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_fails_the_start_in_a_way_that_may_be_tried_again() {
    let case = Case::new().await;
    case.engine.stop();

    let error = failed(case.driver.start_task(case.task("web")).await);

    assert!(error.message.contains("cannot connect to the Docker daemon at unix://"), "{error}");
    assert_eq!(error.recoverability, Recoverability::Recoverable);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stops_between_create_and_start_for_a_moment_does_not_fail_the_start() {
    let case = Case::new().await;
    let task = case.task("web");
    case.engine.on("POST /containers/*/start").once(Reply::stop_engine());
    let returns = async {
        case.engine.asked("POST /containers/*/start").await;
        case.pass(Duration::from_millis(500)).await;
        case.engine.serve();
    };

    let (started, ()) = tokio::join!(case.driver.start_task(task.clone()), returns);

    started.unwrap();
    assert_eq!(case.names(), ["web-5a3f0f4e-0000-4000-8000-00000000000a"]);
    assert!(case.container_of(&task).is_running());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stops_between_create_and_start_for_long_fails_the_start_in_a_way_that_may_be_tried_again() {
    let case = Case::new().await;
    let task = case.task("web");
    case.engine.on("POST /containers/*/start").once(Reply::stop_engine());

    let error = failed(case.driver.start_task(task.clone()).await);
    case.engine.serve();
    case.start(&task).await;

    assert!(error.message.contains("Failed to start container"), "{error}");
    assert_eq!(error.recoverability, Recoverability::Recoverable);
    assert_eq!(case.engine.containers().len(), 1, "the next attempt replaces what the first one made");
    assert!(case.container_of(&task).is_running());
}

/// How often the engine started a container.
fn starts(case: &Case) -> usize {
    case.engine.events().into_iter().filter(|event| event.action == "start").count()
}

#[tokio::test(start_paused = true)]
async fn a_program_runs_once_and_its_exit_is_reported_however_its_start_fails() {
    for (fault, reply) in faults() {
        for ends in [false, true] {
            let case = Case::new().await;
            let task = case.task("quick");
            let reply = if ends {
                reply.clone().after(|engine| {
                    let made = engine.containers().remove(0);
                    if made.is_running() {
                        engine.exit(&made.id, 3);
                    }
                })
            } else {
                reply.clone()
            };
            case.engine.on("POST /containers/*/start").once(reply);
            let why = format!("{fault}, ends: {ends}");
            let began = Instant::now();

            let started = case.driver.start_task(task.clone()).await;

            let has_ended = case.engine.containers().iter().any(|made| !made.is_running());
            // An internal error is final, unless the program runs all the same.
            assert_eq!(started.is_err(), fault == "an error without effect", "{why}");
            assert_eq!(starts(&case), usize::from(started.is_ok()), "{why}");
            assert!(began.elapsed() < Duration::from_secs(if fault == "no answer" { 320 } else { 40 }), "{why}");
            if has_ended {
                assert_eq!(case.wait(&task).await.result.exit_code, 3, "{why}");
            }
            if started.is_err() {
                assert_eq!(case.names(), [""; 0], "{why}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_answer_is_lost_with_the_engine_waits_for_it_and_starts_nothing_again() {
    for (away, is_started) in [(20, true), (80, false)] {
        let case = Case::new().await;
        let task = case.task("web");
        case.engine.on("POST /containers/*/start").once(Reply::stop_engine_after());
        let returns = async {
            case.engine.asked("POST /containers/*/start").await;
            case.pass(Duration::from_secs(away)).await;
            case.engine.serve();
        };

        let (started, ()) = tokio::join!(case.driver.start_task(task.clone()), returns);

        assert_eq!(started.is_ok(), is_started);
        assert_eq!(starts(&case), 1);
        if let Err(error) = started {
            assert_eq!(error.recoverability, Recoverability::Recoverable);
            case.engine.until("nothing is left", |engine| engine.containers().is_empty()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_taken_is_reported_with_the_container_that_has_it() {
    let case = Case::new().await;
    let request = json!({
        "Image": IMAGE, "HostConfig": { "PortBindings": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "20345" }] } },
    });
    case.engine.create("holder", request);
    case.engine.run("holder");
    let message = "driver failed programming external connectivity on endpoint web: Bind for 0.0.0.0:20345 failed: port is \
                   already allocated";
    case.engine.on("POST /containers/*/start").always(Reply::error(500, message));

    let error = failed(case.driver.start_task(case.task_with_port("web", 20345)).await);

    assert!(error.message.contains("port is already allocated\nhint: "), "{error}");
    assert!(error.message.contains("holder"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_ended_when_it_is_looked_at_is_started_and_its_end_reported() {
    let case = Case::new().await;
    let task = case.task("quick");
    case.engine.on("POST /containers/*/start").once(Reply::usual().after(|engine| {
        let made = engine.containers().remove(0);
        engine.exit(&made.id, 3);
    }));

    case.start(&task).await;
    let end = case.wait(&task).await;

    assert_eq!(end.result.exit_code, 3);
    assert_eq!(end.error, "Docker container exited with non-zero exit code: 3");
}

#[tokio::test(start_paused = true)]
async fn a_pull_is_reported_to_the_tasks_owner() {
    let case = Case::new().await;
    case.engine.add_to_registry(Image::named("registry.test/app:2"));
    let mut events = case.task_events().await;
    let task = case.task_with("web", [("image", text("registry.test/app:2"))]);

    case.start(&task).await;

    let reported = event(&mut events, "Downloading image").await;
    assert_eq!(reported.task_id, task.id);
    assert_eq!(reported.annotations["image"], "registry.test/app:2");
}
