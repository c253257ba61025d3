//! How a task is stopped and signalled.

use std::time::Duration;

use fake_engine::{OnSignal, Reply, Request};
use nomad_plugin::driver::{Driver, TaskConfig, TaskState};
use serde_json::json;
use tokio::time::Instant;

use crate::case::{Case, failed, faults};

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
async fn without_a_signal_of_the_jobs_that_of_the_image_is_sent_and_the_usual_one_if_there_is_none() {
    for (of_image, sent) in [("", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGRTMIN+3", "SIGRTMIN+3")] {
        let case = Case::new().await;
        case.engine.set_on_signal(OnSignal::Exit(4));
        case.engine.on("POST /containers/create").once(Reply::usual().after(move |engine| {
            let made = engine.containers().remove(0);
            engine.change(&made.id, |made| made.request["StopSignal"] = json!(of_image));
        }));
        let task = case.task("web");
        case.start(&task).await;
        case.subscribed().await;

        case.driver.stop_task(task.id.clone(), Duration::from_secs(5), String::new()).await.unwrap();

        let expected = if of_image == "SIGRTMIN+3" { vec![sent, "SIGKILL"] } else { vec![sent] };
        assert_eq!(signals(&case.requests("POST /containers/*/kill")), expected);
        assert_eq!(case.wait(&task).await.result.exit_code, if expected.len() == 1 { 4 } else { 137 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_signal_of_the_image_that_the_engine_does_not_know_is_replaced() {
    let case = Case::new().await;
    case.engine.on("POST /containers/create").once(Reply::usual().after(|engine| {
        let made = engine.containers().remove(0);
        engine.change(&made.id, |made| made.request["StopSignal"] = json!("SIGWHAT"));
    }));
    let task = case.task("web");
    case.start(&task).await;
    case.subscribed().await;
    case.engine.on("POST /containers/*/kill").once(Reply::error(400, "Invalid signal: SIGWHAT"));

    case.driver.stop_task(task.id.clone(), MINUTE, String::new()).await.unwrap();

    assert_eq!(signals(&case.requests("POST /containers/*/kill")), ["SIGWHAT", "SIGTERM"]);
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
    case.engine.on("POST /containers/*/kill").once(Reply::stop_engine());
    let returns = async {
        case.engine.asked("POST /containers/*/kill").await;
        case.pass(Duration::from_secs(20)).await;
        case.engine.serve();
    };

    let (stopped, ()) = tokio::join!(case.driver.stop_task(task.id.clone(), MINUTE, String::new()), returns);

    stopped.unwrap();
    assert_eq!(signals(&case.requests("POST /containers/*/kill")), ["SIGTERM"; 2]);
    assert_eq!(case.wait(&task).await.result.exit_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_a_short_grace_outlives_a_longer_absence_of_the_engine() {
    for (grace, code) in [(0, 137), (3, 0)] {
        let (case, task) = running(OnSignal::Exit(0)).await;
        case.engine.stop();
        let returns = async {
            case.pass(Duration::from_secs(30)).await;
            case.engine.serve();
        };

        let stop = case.driver.stop_task(task.id.clone(), Duration::from_secs(grace), String::new());
        let (stopped, ()) = tokio::join!(stop, returns);

        stopped.unwrap();
        assert_eq!(case.wait(&task).await.result.exit_code, code, "{grace}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_over_a_minute_after_its_grace_though_the_engine_is_away_and_may_be_asked_again() {
    for grace in [0, 5, 60] {
        let (case, task) = running(OnSignal::Exit(0)).await;
        case.engine.stop();
        let began = Instant::now();

        let error = failed(case.driver.stop_task(task.id.clone(), Duration::from_secs(grace), String::new()).await);
        let took = began.elapsed().as_secs();
        case.engine.serve();
        case.driver.stop_task(task.id.clone(), Duration::from_secs(grace), String::new()).await.unwrap();

        assert!(error.message.starts_with("Failed to stop container "), "{error}");
        assert!((grace + 55..grace + 72).contains(&took), "{grace}: {took}");
        assert!(!case.container_of(&task).is_running());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_over_in_time_and_the_task_with_it_whichever_call_fails_and_how() {
    for (fault, reply) in faults() {
        for (on_signal, signal) in [
            (OnSignal::Exit(3), ""),
            (OnSignal::Exit(3), "SIGTERM"),
            (OnSignal::Ignore, ""),
            (OnSignal::Ignore, "SIGTERM"),
        ] {
            for call in ["POST /containers/*/kill", "GET /containers/*/json"] {
                let (case, task) = running(on_signal).await;
                case.engine.on(call).once(reply.clone());
                let began = Instant::now();

                let stopped = case.driver.stop_task(task.id.clone(), Duration::from_secs(5), signal.into()).await;

                let why = format!("{fault} at {call}, {on_signal:?}, {signal:?}");
                stopped.expect(&why);
                assert!(began.elapsed() < Duration::from_secs(16), "{why}: {:?}", began.elapsed());
                let code = case.wait(&task).await.result.exit_code;
                let is_killed = on_signal == OnSignal::Ignore || fault == "no answer" && call.starts_with("POST");
                assert_eq!(code, if is_killed { 137 } else { 3 }, "{why}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_that_is_not_answered_is_sent_again_within_the_stop() {
    let (case, task) = running(OnSignal::Ignore).await;
    case.engine.on("POST /containers/*/kill").times(2, Reply::hang());
    let began = Instant::now();

    case.driver.stop_task(task.id.clone(), Duration::from_secs(5), "SIGTERM".into()).await.unwrap();

    assert_eq!(signals(&case.requests("POST /containers/*/kill")), ["SIGTERM", "SIGKILL", "SIGKILL"]);
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_task_is_stopped_though_the_engine_sends_no_events() {
    for (on_signal, signal, code) in
        [(OnSignal::Exit(3), "", 3), (OnSignal::Exit(3), "SIGTERM", 3), (OnSignal::Ignore, "SIGTERM", 137)]
    {
        let case = Case::new().await;
        case.engine.on("GET /events").always(Reply::hang());
        case.engine.set_on_signal(on_signal);
        let task = case.task("web");
        case.start(&task).await;
        case.subscribed().await;
        let began = Instant::now();

        case.driver.stop_task(task.id.clone(), Duration::from_secs(20), signal.into()).await.unwrap();

        let most = if code == 3 { 2 } else { 22 };
        assert!(began.elapsed() < Duration::from_secs(most), "{:?}", began.elapsed());
        assert_eq!(case.wait(&task).await.result.exit_code, code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_may_have_arrived_is_not_sent_again_and_its_caller_does_not_wait_for_long() {
    // The answer has no body, of which the rest may be missing.
    let faults = faults().into_iter().filter(|(fault, _)| !fault.contains("answer that") && !fault.starts_with("cut"));
    for (fault, reply) in faults {
        let (case, task) = running(OnSignal::Ignore).await;
        case.engine.on("POST /containers/*/kill").once(reply);
        let began = Instant::now();

        failed(case.driver.signal_task(task.id.clone(), "SIGUSR1".into()).await);

        assert!(began.elapsed() < Duration::from_secs(11), "{fault}: {:?}", began.elapsed());
        assert_eq!(case.requests("POST /containers/*/kill").len(), 1, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_inspect_of_a_task_is_answered_in_time_whatever_the_engine_does() {
    for (fault, reply) in faults() {
        let (case, task) = running(OnSignal::Ignore).await;
        case.engine.on("GET /containers/*/json").once(reply);
        let began = Instant::now();

        let inspected = case.driver.inspect_task(task.id.clone()).await;

        assert!(began.elapsed() < Duration::from_secs(4), "{fault}: {:?}", began.elapsed());
        assert_eq!(inspected.is_ok(), !fault.starts_with("no answer"), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_outlives_its_kill_is_reported() {
    let (case, task) = running(OnSignal::Ignore).await;
    case.engine.on("POST /containers/*/kill").always(Reply::json(204, serde_json::Value::Null));

    let error = failed(case.driver.stop_task(task.id.clone(), Duration::ZERO, String::new()).await);

    assert!(error.message.ends_with("still runs 10 s after it was killed"), "{error}");
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
