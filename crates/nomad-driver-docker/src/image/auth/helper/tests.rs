//! Helpers that succeed, fail, hang, and leave processes behind.

use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{sleep, timeout};

use super::*;

const HELPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/docker-credential-example");

const DEADLINE: Duration = Duration::from_secs(60);

async fn asked(registry: &str) -> Result<Option<Credentials>, AuthError> {
    ask_for(HELPER, registry, registry, sleep(DEADLINE)).await
}

/// The credentials as the engine gets them, or the error.
async fn answer(registry: &str) -> String {
    match asked(registry).await {
        Ok(credentials) => serde_json::to_string(&credentials).unwrap(),
        Err(error) => error.to_string(),
    }
}

/// Waits for a file to be written.
async fn written(path: &Path) -> String {
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Whether a process is running; a process that nobody has waited for yet is a zombie.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && stat.rsplit(')').next().is_some_and(|rest| !rest.starts_with(" Z"))
}

async fn ended(pid: Pid) {
    let removed = async {
        while runs(pid) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, removed).await.expect("the process has not ended");
}

#[tokio::test]
async fn a_helper_reads_the_registry_and_answers_in_json() {
    let expected = r#"{"username":"user","password":"pass:word","serveraddress":"https://known.test:5000"}"#;
    assert_eq!(answer("known.test:5000").await, expected);
    assert_eq!(answer("empty.test").await, "null");
    assert_eq!(answer("unknown.test").await, "null");
}

#[tokio::test]
async fn a_user_named_token_is_an_identity_token() {
    assert_eq!(answer("token.test").await, r#"{"identitytoken":"it","serveraddress":"token.test"}"#);
}

#[tokio::test]
async fn the_hub_is_asked_for_by_its_other_name_too() {
    let credentials = ask(HELPER, HUB).await.unwrap().unwrap();

    assert_eq!((credentials.username.as_str(), credentials.server_address.as_str()), ("hub", HUB_KEY));
}

#[tokio::test]
async fn a_helper_that_fails_is_quoted() {
    let expected = format!("{HELPER} with input \"denied.test\" failed with stderr: access denied\n");
    assert_eq!(answer("denied.test").await, expected);
    let expected = format!("{HELPER} with input \"mute.test\" failed with stderr: (empty; exit status: 3)");
    assert_eq!(answer("mute.test").await, expected);
}

#[tokio::test]
async fn of_a_helper_that_says_a_lot_the_end_is_quoted() {
    let error = answer("noisy.test").await;

    let reported = error.split_once("failed with stderr: ...").unwrap().1;
    assert_eq!(reported.len(), REPORTED_OF_STDERR);
    assert!(reported.ends_with("the cause\n"), "{reported}");
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_not_quoted() {
    for (registry, reported) in [
        ("else.test", "its answer is no JSON of strings; its stderr: a warning\n"),
        ("endless.test", "its answer is longer than 64 KiB"),
    ] {
        assert_eq!(answer(registry).await, format!("{HELPER} with input {registry:?} failed: {reported}"));
    }
}

#[tokio::test]
async fn a_helper_that_hangs_is_ended_with_all_that_it_started_and_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let began = directory.path().join("began");
    let input = began.to_str().unwrap();

    let over = async { drop(written(&began).await) };
    let error = ask_for(HELPER, input, "hangs.test", over).await.unwrap_err();

    let expected =
        format!("{HELPER} with input {input:?} failed: no answer within 30 s; its stderr: waiting for a child\n");
    assert_eq!(error.to_string(), expected);
    ended(pid(&written(&began).await)).await;
}

#[tokio::test]
async fn a_helper_that_nobody_waits_for_any_more_is_ended_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let began = directory.path().join("began");
    let input = began.to_str().unwrap();

    let child = tokio::select! {
        answer = ask_for(HELPER, input, "hangs.test", sleep(DEADLINE)) => panic!("it answered: {answer:?}"),
        child = written(&began) => pid(&child),
    };

    ended(child).await;
}

#[tokio::test]
async fn an_answer_counts_though_something_that_the_helper_started_holds_its_pipes_open() {
    let credentials = asked("lingers.test").await.unwrap().unwrap();

    let child = pid(&credentials.username);
    assert!(runs(child), "the test is about a child that lives on");
    kill_process(child, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_helper_that_is_not_installed_is_named() {
    let error = ask(&program("longshore-no-such-helper"), "a.test").await.unwrap_err().to_string();

    assert!(error.starts_with("docker-credential-longshore-no-such-helper with input \"a.test\" failed: "), "{error}");
}
