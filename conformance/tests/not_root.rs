//! The driver as a user of the group docker: all of it works but what takes root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use conformance::{
    DEADLINE, Fixture,
    lines::{Judgement, flood, judge, last_number},
    relay::Relay,
    user::User,
};
use futures_util::StreamExt;
use nomad_plugin::driver::{Attribute, Force, Health};

/// The driver as a user, and the requests for logs that the engine gets from it.
struct AsUser {
    fixture: Fixture,
    log_requests: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

impl AsUser {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log_requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = log_requests.clone();
        let relay = Relay::start(directory.path(), move |request| {
            if request.contains("/logs?") {
                noted.lock().unwrap().push(request.to_owned());
            }
        });
        let user = User::of_group_docker();
        user.own(directory.path());
        let id = user.id();
        let fixture = Fixture::as_user(user, &[("DOCKER_HOST", &relay.address())]).await;
        let status = fs::read_to_string(format!("/proc/{}/status", fixture.driver.reattach_config().pid)).unwrap();
        assert!(status.contains(&format!("Uid:\t{id}\t{id}\t{id}\t{id}\n")), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
        Self { fixture, log_requests, _directory: directory }
    }

    /// What the driver logged of failures.
    fn failures(&self) -> Vec<String> {
        let log = self.fixture.log.lock().unwrap();
        log.iter().filter(|line| line.contains("level: Error")).cloned().collect()
    }
}

#[tokio::test]
async fn logs_come_whole_through_the_engine_over_the_drivers_death_too() {
    let mut driver = AsUser::start().await;
    let last = 20_000;
    let (quick, steady) = (
        driver.fixture.task("quick", &format!("echo err >&2; {}", flood("a", last, 20))),
        driver.fixture.task("steady", "n=0; while :; do n=$((n+1)); echo \"b $n\"; sleep 0.01; done"),
    );

    let started = driver.fixture.run(&quick).await;
    let ended = driver.fixture.driver.wait_task(started.id.clone()).await.unwrap();
    driver.fixture.driver.destroy_task(started.id, Force::No).await.unwrap();
    let started = driver.fixture.run(&steady).await;
    for round in 1..=2 {
        steady.pipes.stdout.wait_for("more lines", |bytes| last_number(bytes, "b") >= round * 50);
        driver.fixture.kill_and_start_again().await;
        driver.fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    }
    steady.pipes.stdout.wait_for("lines after the last kill", |bytes| last_number(bytes, "b") >= 150);
    driver.fixture.driver.stop_task(started.id.clone(), Duration::ZERO, String::new()).await.unwrap();
    driver.fixture.driver.wait_task(started.id).await.unwrap();

    assert_eq!(ended.result.exit_code, 0);
    assert_eq!(judge(&quick.pipes.stdout.bytes(), "a", last), Judgement::default());
    assert_eq!(quick.pipes.stderr.text(), "err\n");
    let bytes = steady.pipes.stdout.bytes();
    assert_eq!(judge(&bytes, "b", last_number(&bytes, "b")), Judgement::default());
    assert!(driver.log_requests.lock().unwrap().len() >= 4, "{:?}", driver.log_requests);
    assert_eq!(driver.failures(), Vec::<String>::new());
    driver.fixture.end().await;
}

#[tokio::test]
async fn a_task_runs_is_measured_entered_and_stopped_and_what_is_missing_is_said_once() {
    let driver = AsUser::start().await;
    let fixture = &driver.fixture;
    let fingerprint = fixture.driver.fingerprint().await.unwrap().next().await.unwrap().unwrap();
    let events = fixture.driver.task_events().await.unwrap();
    let received: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = received.clone();
    let listening = events.for_each(move |event| {
        sink.lock().unwrap().push(event.unwrap().message);
        std::future::ready(())
    });
    let life = async {
        // The group of all processes stands for the one that Nomad makes; either version keeps its processors there.
        let v1 = std::path::Path::new("/sys/fs/cgroup/cpuset/cpuset.effective_cpus").exists();
        let group = if v1 { "/sys/fs/cgroup/cpuset" } else { "/sys/fs/cgroup" };
        for name in ["first", "second"] {
            let script = "trap 'echo stopped; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
            let mut task = fixture.task(name, script);
            let linux = task.config.resources.as_mut().unwrap().linux.as_mut().unwrap();
            linux.cpuset_cgroup = group.to_owned();
            let started = fixture.run(&task).await;
            task.pipes.stdout.wait_for_text("ready");

            let driver = &fixture.driver;
            let usage = driver.task_stats(started.id.clone(), Duration::from_millis(50)).await.unwrap();
            let usage = usage.take(1).collect::<Vec<_>>().await.remove(0).unwrap();
            let command = ["/bin/sh", "-c", "echo inside; exit 7"].map(str::to_owned).to_vec();
            let inside = driver.exec_task(started.id.clone(), command, *DEADLINE).await.unwrap();
            driver.stop_task(started.id.clone(), *DEADLINE, "SIGTERM".into()).await.unwrap();
            let ended = driver.wait_task(started.id).await.unwrap();

            assert!(usage.memory.usage > Some(0) && usage.cpu.percent.is_some(), "{usage:?}");
            assert_eq!((inside.stdout.as_slice(), inside.result.exit_code), (b"inside\n".as_slice(), 7));
            assert_eq!(ended.result.exit_code, 3);
            assert!(task.pipes.stdout.text().ends_with("stopped\n"), "{}", task.pipes.stdout.text());
            assert_ne!(conformance::docker::inspect(&task.container())["HostConfig"]["CpusetCpus"], "");
        }
    };
    tokio::select! {
        () = listening => panic!("the events ended"),
        () = life => {}
    }

    let limitation = "not root: tasks stay on the processors that they were started on, whatever Nomad leaves them";
    assert_eq!(fingerprint.health, Health::Healthy);
    assert_eq!(fingerprint.description, format!("Healthy; {limitation}"));
    assert_eq!(fingerprint.attributes["driver.docker.cpuset_management.disabled"], Attribute::Bool(true));
    assert_eq!(*received.lock().unwrap(), [limitation]);
    assert_eq!(driver.failures(), Vec::<String>::new());
    driver.fixture.end().await;
}
