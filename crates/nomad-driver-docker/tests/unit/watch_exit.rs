//! How the driver learns that a container has exited.

use std::time::{Duration, SystemTime};

use fake_engine::{Event, Reply, State};
use futures_util::FutureExt;
use nomad_plugin::driver::{Driver, TaskConfig, WaitResult};
use serde_json::json;
use tokio::time::Instant;

use crate::case::{Case, event, text};

/// Whether no exit is reported for a time.
async fn runs_on(case: &Case, task: &TaskConfig, time: Duration) -> bool {
    tokio::time::timeout(time, case.driver.wait_task(task.id.clone())).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn an_end_is_reported_with_its_code() {
    for (code, error) in [(0, ""), (3, "Docker container exited with non-zero exit code: 3")] {
        let case = Case::new().await;
        let task = case.task("web");
        case.start(&task).await;
        assert!(runs_on(&case, &task, Duration::from_secs(60)).await);

        case.engine.exit(&case.container_of(&task).id, code);
        let end = case.wait(&task).await;

        assert_eq!((i64::from(end.result.exit_code), end.error.as_str()), (code, error));
        assert!(!end.result.oom_killed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_between_two_subscriptions_is_found_when_the_engine_is_back() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    case.engine.stop();

    case.engine.exit_without_event(&case.container_of(&task).id, 4);
    assert!(runs_on(&case, &task, Duration::from_secs(30)).await);
    case.engine.serve();
    let end = case.wait(&task).await;

    assert_eq!(end.result.exit_code, 4);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_engine_ends_no_task() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;

    for times in 2..5 {
        case.engine.restart();
        case.subscribed_times(times).await;
    }

    assert!(runs_on(&case, &task, Duration::from_secs(60)).await);
    case.engine.exit(&case.container_of(&task).id, 0);
    assert_eq!(case.wait(&task).await, WaitResult::default());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_no_event_reports_is_found_soon() {
    let silences = [
        ("broken", Reply::drop_connection()),
        ("failing", Reply::error(500, "no")),
        ("without a head", Reply::hang()),
        ("without an event", Reply::mute()),
    ];
    for (name, silence) in silences {
        let case = Case::new().await;
        let task = case.task("web");
        case.engine.on("GET /events").always(silence);
        case.start(&task).await;
        case.subscribed().await;
        assert!(runs_on(&case, &task, Duration::from_secs(60)).await, "{name}");
        let began = Instant::now();

        case.engine.exit(&case.container_of(&task).id, 5);
        let end = case.wait(&task).await;

        assert_eq!(end.result.exit_code, 5, "{name}");
        assert!(began.elapsed() < Duration::from_secs(10), "{name}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_silent_at_one_question_is_asked_beside() {
    for silence in [Reply::hang(), Reply::mute(), Reply::trickle(Duration::from_secs(1))] {
        let case = Case::new().await;
        let task = case.task("web");
        case.start(&task).await;
        case.subscribed().await;
        case.engine.on("GET /containers/*/json").once(silence);
        let began = Instant::now();

        case.engine.exit(&case.container_of(&task).id, 5);
        let end = case.wait(&task).await;

        assert_eq!(end.result.exit_code, 5);
        assert!((10..11).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_during_the_question_for_an_earlier_event_is_not_missed() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    let container = case.container_of(&task);
    // The engine answers what was true before, late.
    let (late, gate) =
        Reply::json(200, json!({ "Id": container.id, "State": { "Status": "running", "Running": true } })).held();
    case.engine.forget_requests();
    case.engine.on("GET /containers/*/json").once(late);
    case.engine.on("GET /containers/json").always(Reply::hang());

    case.engine.emit(Event::of(&container, "die"));
    case.engine.asked("GET /containers/*/json").await;
    let began = Instant::now();
    case.engine.exit(&container.id, 5);
    gate.open();
    let end = case.wait(&task).await;

    assert_eq!(end.result.exit_code, 5);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_say_how_the_container_is_is_asked_again() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    case.engine.forget_requests();
    case.engine.on("GET /containers/*/json").times(3, Reply::error(500, "no"));
    case.engine.on("GET /containers/*/json").times(2, Reply::drop_connection());
    case.engine.on("GET /containers/*/json").once(Reply::cut_body());
    let began = Instant::now();

    case.engine.exit(&case.container_of(&task).id, 6);
    let end = case.wait(&task).await;

    assert_eq!(end.result.exit_code, 6);
    assert!(case.requests("GET /containers/*/json").len() >= 7);
    assert!(began.elapsed() >= Duration::from_secs(5), "a second between each two");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_somebody_removes_is_an_end() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    case.engine.on("GET /containers/*/json").once(Reply::usual().before(|engine| {
        if let Some(container) = engine.containers().first() {
            engine.remove(&container.id);
        }
    }));

    case.engine.emit(Event::of(&case.container_of(&task), "die"));
    let end = case.wait(&task).await;

    assert_eq!(end.result.exit_code, 137);
    assert_eq!(end.error, "the container was removed by someone else while the task ran");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_somebody_removes_while_the_engine_cannot_be_reached_is_an_end() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;

    case.engine.stop();
    case.engine.remove(&case.container_of(&task).id);
    case.engine.serve();

    assert_eq!(case.wait(&task).await.error, "the container was removed by someone else while the task ran");
}

#[tokio::test(start_paused = true)]
async fn a_kill_by_the_kernel_is_reported_as_such() {
    let case = Case::new().await;
    let task = case.task("hungry");
    let mut events = case.task_events().await;
    case.start(&task).await;
    case.subscribed().await;

    case.engine.run_out_of_memory(&case.container_of(&task).id);
    let end = case.wait(&task).await;

    assert_eq!((end.result.exit_code, end.result.oom_killed, end.error.as_str()), (137, true, "OOM Killed"));
    event(&mut events, "out of memory").await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_by_the_kernel_that_the_engine_reports_late_is_still_the_kernels() {
    let case = Case::new().await;
    let task = case.task("hungry");
    case.start(&task).await;
    case.subscribed().await;
    let container = case.container_of(&task);

    case.engine.exit(&container.id, 137);
    let late = async {
        case.pass(Duration::from_secs(2)).await;
        case.engine.emit(Event::of(&container, "oom"));
    };
    let (end, ()) = tokio::join!(case.wait(&task), late);

    assert_eq!((end.result.oom_killed, end.error.as_str()), (true, "OOM Killed"));
}

#[tokio::test(start_paused = true)]
async fn a_kill_of_a_child_by_the_kernel_long_ago_is_not_the_cause_of_the_end() {
    let case = Case::new().await;
    let task = case.task("hungry");
    let mut events = case.task_events().await;
    case.start(&task).await;
    case.subscribed().await;
    let container = case.container_of(&task);
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    case.engine.emit(Event::of(&container, "oom").at(long_ago));
    event(&mut events, "out of memory").await;

    case.engine.change(&container.id, |container| {
        container.state = State::Exited { code: 137, oom_killed: true };
        container.finished_at = Some(SystemTime::now());
    });
    case.engine.emit(Event::of(&container, "die"));
    let end = case.wait(&task).await;

    assert_eq!((end.result.exit_code, end.result.oom_killed), (137, false));
}

#[tokio::test(start_paused = true)]
async fn a_kill_by_somebody_waits_a_moment_for_the_kernels_word_and_is_no_lack_of_memory() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    let began = Instant::now();

    case.engine.exit(&case.container_of(&task).id, 137);
    let end = case.wait(&task).await;

    assert_eq!((end.result.exit_code, end.result.oom_killed), (137, false));
    assert!((2..6).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_dead_has_ended() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    let container = case.container_of(&task);

    case.engine.change(&container.id, |container| container.state = State::Dead);
    case.engine.emit(Event::of(&container, "die"));

    assert_eq!(case.wait(&task).await, WaitResult::default());
}

#[tokio::test(start_paused = true)]
async fn a_container_that_the_engine_starts_again_has_not_ended() {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    let container = case.container_of(&task);

    case.engine.change(&container.id, |container| container.state = State::Restarting);
    case.engine.emit(Event::of(&container, "die"));
    assert!(runs_on(&case, &task, Duration::from_secs(60)).await);
    case.engine.exit(&container.id, 1);

    assert_eq!(case.wait(&task).await.result.exit_code, 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_container_or_a_wrong_one_ends_nothing() {
    let case = Case::new().await;
    let (web, other) = (case.task("web"), case.task("other"));
    case.start(&web).await;
    case.start(&other).await;
    case.subscribed().await;

    case.engine.emit(Event::of(&case.container_of(&web), "die"));
    case.engine.exit(&case.container_of(&other).id, 2);

    assert_eq!(case.wait(&other).await.result.exit_code, 2);
    assert!(case.driver.wait_task(web.id.clone()).now_or_never().is_none());
    assert!(runs_on(&case, &web, Duration::from_secs(60)).await);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_without_its_network_for_good_is_ended_and_the_reason_reported() {
    let case = Case::new().await;
    case.engine.add_network("backend");
    let task = case.task_with("web", [("network_mode", text("backend"))]);
    let mut events = case.task_events().await;
    case.start(&task).await;
    case.subscribed().await;

    case.engine.disconnect(&case.container_of(&task).id, "backend");
    let end = case.wait(&task).await;

    assert_eq!(end.error, "the container was disconnected from the network \"backend\" while the task ran");
    event(&mut events, "The task is stopped: its container was disconnected from the network \"backend\"").await;
    assert_eq!(case.requests("POST /containers/*/stop").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_the_stop_of_a_container_without_its_network_delays_its_end_by_seconds() {
    for silence in [Reply::hang(), Reply::hang_after()] {
        let case = Case::new().await;
        case.engine.add_network("backend");
        let task = case.task_with("web", [("network_mode", text("backend"))]);
        case.start(&task).await;
        case.subscribed().await;
        case.engine.on("POST /containers/*/stop").once(silence);
        let began = Instant::now();

        case.engine.disconnect(&case.container_of(&task).id, "backend");
        let end = case.wait(&task).await;

        assert_eq!(end.error, "the container was disconnected from the network \"backend\" while the task ran");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
