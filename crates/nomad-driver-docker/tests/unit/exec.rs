//! Commands in a task's container.

use std::time::Duration;

use bytes::Bytes;
use fake_engine::{Exec, Reply};
use futures_util::{StreamExt, stream};
use nomad_plugin::driver::{Driver, ExecEvent, ExecInput, ExecSetup, TaskConfig};
use serde_json::json;
use tokio::time::Instant;

use crate::case::{Case, failed, faults};

const MINUTE: Duration = Duration::from_secs(60);

/// A running task, in which commands run like this one.
async fn running(exec: Exec) -> (Case, TaskConfig) {
    let case = Case::new().await;
    let task = case.task("web");
    case.start(&task).await;
    case.engine.set_exec(exec);
    (case, task)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_command_has_its_output_apart_and_its_code() {
    let (case, task) =
        running(Exec { stdout: "out\n".into(), stderr: "err\n".into(), code: 3, reads_input: false }).await;

    let output = case.driver.exec_task(task.id, words(&["ls", "-l"]), MINUTE).await.unwrap();

    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.result.exit_code, 3);
    assert_eq!(case.requests("POST /containers/*/exec")[0].body["Cmd"], json!(["ls", "-l"]));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_end_in_time_is_an_error() {
    let (case, task) = running(Exec { reads_input: true, ..Exec::default() }).await;

    let error = failed(case.driver.exec_task(task.id.clone(), words(&["cat"]), MINUTE).await);

    assert_eq!(error.message, "the command did not end within 60s and was killed");
    assert!(case.container_of(&task).is_running());
}

#[tokio::test(start_paused = true)]
async fn no_command_and_a_container_that_does_not_run_are_errors() {
    let (case, task) = running(Exec::default()).await;

    let empty = failed(case.driver.exec_task(task.id.clone(), Vec::new(), MINUTE).await);
    case.engine.exit(&case.container_of(&task).id, 0);
    let ended = failed(case.driver.exec_task(task.id, words(&["ls"]), MINUTE).await);

    assert_eq!(empty.message, "cmd is required, but was empty");
    assert!(
        ended.message.starts_with("failed to create exec object: ") && ended.message.contains("is not running"),
        "{ended}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_breaks_the_connection_to_a_command_is_an_error() {
    let (case, task) = running(Exec::default()).await;
    case.engine.on("POST /exec/*/start").once(Reply::drop_connection());

    let error = failed(case.driver.exec_task(task.id, words(&["ls"]), MINUTE).await);

    assert!(error.message.starts_with("failed to attach to exec object: "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_commands_time_includes_all_calls_for_it() {
    for call in ["POST /containers/*/exec", "POST /exec/*/start", "GET /exec/*/json"] {
        let (case, task) = running(Exec::default()).await;
        case.engine.on(call).always(Reply::hang());
        let began = Instant::now();

        failed(case.driver.exec_task(task.id.clone(), words(&["ls"]), Duration::from_secs(20)).await);

        assert!(began.elapsed() < Duration::from_secs(26), "{call}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_without_a_time_limit_does_not_wait_for_long_until_it_runs() {
    for call in ["POST /containers/*/exec", "POST /exec/*/start"] {
        let (case, task) = running(Exec::default()).await;
        case.engine.on(call).always(Reply::hang());
        let began = Instant::now();

        let unlimited = failed(case.driver.exec_task(task.id.clone(), words(&["ls"]), Duration::ZERO).await);
        let setup = ExecSetup { task_id: task.id, command: words(&["ls"]), tty: false };
        let attached = failed(case.driver.exec_task_streaming(setup, stream::pending().boxed()).await);

        for error in [unlimited, attached] {
            assert!(error.message.ends_with("no answer from the Docker daemon within 30 s"), "{call}: {error}");
        }
        assert!(began.elapsed() < Duration::from_secs(71), "{call}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_end_the_engine_does_not_say_at_once_has_its_code() {
    for (fault, reply) in faults().into_iter().filter(|(fault, _)| !fault.starts_with("no answer")) {
        let (case, task) = running(Exec { code: 3, ..Exec::default() }).await;
        case.engine.on("GET /exec/*/json").once(reply);

        let output = case.driver.exec_task(task.id, words(&["ls"]), MINUTE).await.expect(fault);

        assert_eq!(output.result.exit_code, 3, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_with_its_streams_attached_ends_with_its_input() {
    let (case, task) = running(Exec { stdout: "ready\n".into(), code: 5, reads_input: true, ..Exec::default() }).await;
    let setup = ExecSetup { task_id: task.id, command: words(&["cat"]), tty: false };
    let input = stream::iter([ExecInput::Heartbeat, ExecInput::Stdin(Bytes::from("x")), ExecInput::StdinClosed]);
    let input = input.chain(stream::pending()).boxed();

    let output = case.driver.exec_task_streaming(setup, input).await.unwrap();
    let output: Vec<ExecEvent> = output.map(Result::unwrap).collect().await;

    assert_eq!(output.first(), Some(&ExecEvent::Stdout(Bytes::from("ready\n"))));
    let Some(ExecEvent::Exited(end)) = output.last() else { panic!("{output:?}") };
    assert_eq!(end.exit_code, 5);
    assert!(output.contains(&ExecEvent::StdoutClosed) && output.contains(&ExecEvent::StderrClosed), "{output:?}");
}
