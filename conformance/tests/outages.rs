//! An engine that stops, dies and comes back while tasks run: nothing is reported that did not happen.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use conformance::{
    DEADLINE, Fixture,
    dockerd::Dockerd,
    lines::{Judgement, judge, last_number},
    object,
    relay::{Relay, Wire},
    until, until_within,
};
use futures_util::{FutureExt, StreamExt};
use nomad_plugin::driver::{Force, Health, Recoverability};
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn a_task_outlives_dockerds_restart_and_death_without_a_word_or_a_lost_line() {
    let mut engine = Dockerd::start();
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &engine.address())]).await;
    let task = fixture.task("steady", "n=0; while :; do n=$((n+1)); echo \"a $n\"; sleep 0.01; done");
    let started = fixture.run(&task).await;
    let container = |inspected: nomad_plugin::driver::InspectedTask| inspected.attributes["container_id"].clone();
    let before = container(fixture.driver.inspect_task(started.id.clone()).await.unwrap());
    let mut waiting = Box::pin(fixture.driver.wait_task(started.id.clone()));
    let lines = || last_number(&task.pipes.stdout.bytes(), "a");
    let continues = |from: u64| task.pipes.stdout.wait_for("more lines", |bytes| last_number(bytes, "a") >= from + 200);

    continues(0);
    for outage in [Dockerd::stop, Dockerd::kill, Dockerd::kill] {
        outage(&mut engine);
        assert!(waiting.as_mut().now_or_never().is_none(), "an exit was reported while the engine was away");
        engine.begin();
        continues(lines());
        assert!(waiting.as_mut().now_or_never().is_none(), "an exit was reported after the engine came back");
    }
    let after = container(fixture.driver.inspect_task(started.id.clone()).await.unwrap());
    fixture.driver.stop_task(started.id.clone(), Duration::ZERO, String::new()).await.unwrap();
    let ended = waiting.await.unwrap();

    assert_eq!(before, after);
    assert_eq!(ended.result.exit_code, 137);
    let bytes = task.pipes.stdout.bytes();
    assert_eq!(judge(&bytes, "a", last_number(&bytes, "a")), Judgement::default());
    fixture.end().await;
}

#[tokio::test]
async fn an_end_during_an_outage_is_reported_with_its_code_when_the_engine_is_back() {
    let mut engine = Dockerd::start();
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &engine.address())]).await;
    let task = fixture.task("brief", "until [ -e /local/go ]; do sleep 0.05; done; echo last; exit 5");
    let started = fixture.run(&task).await;

    engine.kill();
    std::fs::write(task.alloc_dir().join("brief/local/go"), "").unwrap();
    let seen_by_the_kernel = || {
        std::fs::read_dir("/proc").unwrap().flatten().all(|process| {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            !String::from_utf8_lossy(&command).contains("until [ -e /local/go ]")
        })
    };
    until("the task's end", seen_by_the_kernel).await;
    engine.begin();
    let ended = fixture.driver.wait_task(started.id.clone()).await.unwrap();

    assert_eq!(ended.result.exit_code, 5);
    // What the task wrote while no engine listened is in the engine's log or is not: collected is what is there.
    assert_eq!(task.pipes.stdout.text(), engine.logs(&task.container()));
    fixture.end().await;
}

#[tokio::test]
async fn an_end_while_dockerd_is_suspended_is_reported_once_it_continues() {
    let engine = Dockerd::start();
    let directory = tempfile::tempdir().unwrap();
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let noted = requests.clone();
    let relay =
        Relay::before(&engine.socket(), directory.path(), move |line| noted.lock().unwrap().push(line.to_owned()));
    let asked = |what: &str| requests.lock().unwrap().iter().filter(|line| line.contains(what)).count();
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await;
    let task = fixture.task("brief", "until [ -e /local/go ]; do sleep 0.05; done; exit 5");
    let started = fixture.run(&task).await;
    until("the subscription", || asked("/events?") == 1).await;

    let suspended = engine.suspended();
    let negotiations = asked("/version");
    std::fs::write(task.alloc_dir().join("brief/local/go"), "").unwrap();
    // The driver has given the silent subscription up, and begins another.
    until("another negotiation", || asked("/version") > negotiations).await;
    drop(suspended);
    let reported = timeout(Duration::from_secs(10), fixture.driver.wait_task(started.id.clone())).await;

    assert_eq!(reported.expect("the end is reported").unwrap().result.exit_code, 5);
    fixture.end().await;
}

#[tokio::test]
async fn a_missing_engine_is_reported_and_its_start_as_well() {
    let mut engine = Dockerd::start();
    engine.stop();
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &engine.address())]).await;
    let task = fixture.task("early", "exit 0");

    let mut fingerprints = fixture.driver.fingerprint().await.unwrap();
    let away = fingerprints.next().await.unwrap().unwrap();
    let refused = fixture.refused(&task).await;
    engine.begin();
    let started = fixture.run(&task).await;
    let ended = fixture.driver.wait_task(started.id).await.unwrap();

    assert_eq!(away.health, Health::Undetected);
    assert!(away.description.starts_with("Failed to connect to docker daemon"), "{}", away.description);
    assert!(away.attributes.is_empty());
    assert!(
        refused.message.starts_with("failed to fetch docker daemon info: cannot connect to the Docker daemon at "),
        "{refused}"
    );
    assert_eq!(refused.recoverability, Recoverability::Recoverable);
    assert_eq!(ended.result.exit_code, 0);
    fixture.end().await;
}

#[tokio::test]
async fn an_end_is_reported_though_all_connections_to_a_remote_engine_fell_silent_without_an_end() {
    let wire = Wire::start();
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &wire.address())]).await;
    let script = "echo first; until [ -e /local/go ]; do sleep 0.05; done; echo last; exit 5";
    let task = fixture.task("brief", script);
    let started = fixture.run(&task).await;
    until("the subscription", || wire.has_seen("/events?")).await;
    task.pipes.stdout.wait_for_text("first\n");
    let command = vec!["echo".into(), "heard".into()];
    let answer = fixture.driver.exec_task(started.id.clone(), command, Duration::ZERO).await.unwrap();

    wire.silence();
    wire.silence_new(true);
    wire.forget();
    std::fs::write(task.alloc_dir().join("brief/local/go"), "").unwrap();
    // The driver asks what runs, and gets no answer.
    until("a look", || wire.has_seen("/containers/json")).await;
    wire.silence_new(false);
    let ended = timeout(*DEADLINE, fixture.driver.wait_task(started.id.clone())).await.expect("the end is reported");

    assert_eq!(ended.unwrap().result.exit_code, 5);
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "heard\n");
    assert_eq!(task.pipes.stdout.text(), "first\nlast\n");
    fixture.end().await;
}

/// A host destroys a task once.
#[tokio::test]
async fn a_running_container_whose_task_is_destroyed_during_an_outage_is_removed_by_this_process_or_the_next() {
    let mut engine = Dockerd::start();
    let mut fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &engine.address())]).await;
    for is_killed in [false, true] {
        let task = fixture.task("steady", "sleep 1000");
        let started = fixture.run(&task).await;

        engine.kill();
        fixture.driver.destroy_task(started.id.clone(), Force::Yes).await.unwrap();
        let unknown = fixture.driver.inspect_task(started.id.clone()).await.unwrap_err();
        if is_killed {
            fixture.kill_and_start_again().await;
        }
        engine.begin();
        assert_eq!(engine.run(&["ps", "--quiet"]).lines().count(), 1, "it ran through the outage");
        if is_killed {
            let handed_over = fixture.driver.recover_task(started.handle.clone()).await.unwrap_err();
            assert!(handed_over.to_string().contains("the task was destroyed"), "{handed_over}");
            // The first fingerprint is where looking begins.
            let _closed_again = fixture.driver.fingerprint().await.unwrap();
        }

        assert!(unknown.to_string().contains("task not found for given id"), "{unknown}");
        until_within(2 * *DEADLINE, "the container is removed", || engine.run(&["ps", "--all", "--quiet"]).is_empty())
            .await;
    }
    fixture.end().await;
}

/// After a reboot an agent may be faster than dockerd.
#[tokio::test]
async fn a_task_is_recovered_while_the_engine_is_away_and_its_lines_and_its_end_come_when_it_is_back() {
    let mut engine = Dockerd::start();
    let mut fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &engine.address())]).await;
    let script = "n=0; until [ -e /local/go ]; do n=$((n+1)); echo \"a $n\"; sleep 0.01; done; exit 5";
    let task = fixture.task("steady", script);
    let started = fixture.run(&task).await;
    let lines = || last_number(&task.pipes.stdout.bytes(), "a");
    let continues = |from: u64| task.pipes.stdout.wait_for("more lines", |bytes| last_number(bytes, "a") >= from + 100);
    continues(0);

    engine.kill();
    fixture.kill_and_start_again().await;
    let began = Instant::now();
    fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    let took = began.elapsed();
    let mut waiting = Box::pin(fixture.driver.wait_task(started.id.clone()));
    assert!(waiting.as_mut().now_or_never().is_none(), "an exit was reported while the engine was away");
    engine.begin();
    continues(lines());
    std::fs::write(task.alloc_dir().join("steady/local/go"), "").unwrap();
    let ended = timeout(*DEADLINE, waiting).await.expect("the end is reported").unwrap();

    assert!(took < Duration::from_secs(7), "{took:?}");
    assert_eq!(ended.result.exit_code, 5);
    let bytes = task.pipes.stdout.bytes();
    assert_eq!(judge(&bytes, "a", last_number(&bytes, "a")), Judgement::default());
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
    fixture.end().await;
}
