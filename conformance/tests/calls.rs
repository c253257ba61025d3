//! What the driver asks of the engine, counted on the way there; and what it costs the machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::ready,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use conformance::{
    Fixture,
    docker::{docker, inspect},
    object,
    relay::Relay,
    until,
};
use futures_util::StreamExt;

/// The first lines of all requests to the engine.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Vec<String>>>);

impl Counter {
    /// [Plain](plain) requests since the last time, without the periodic question what runs.
    fn take(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.0.lock().unwrap());
        requests.iter().map(|request| plain(request)).filter(|request| request != "GET /containers/json").collect()
    }
}

/// `POST /v1.41/containers/<id>/start?x HTTP/1.1` as `POST /containers/ID/start`.
fn plain(request: &str) -> String {
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let path = path.split('?').next().unwrap();
    let parts = path.split('/').filter(|part| !part.is_empty() && !part.starts_with("v1."));
    let parts: Vec<&str> = parts.map(|part| if part.len() == 64 { "ID" } else { part }).collect();
    format!("{method} /{}", parts.join("/"))
}

#[tokio::test]
async fn a_start_with_a_local_image_is_four_calls_and_a_stop_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Counter::default();
    let noted = counter.clone();
    let relay = Relay::start(directory.path(), move |request| noted.0.lock().unwrap().push(request.to_owned()));
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await;
    // Nomad fingerprints before it starts anything; the first task makes the driver listen to the engine's events.
    fixture.driver.fingerprint().await.unwrap().next().await.unwrap().unwrap();
    let first = fixture.task("first", "exec sleep 1000");
    fixture.run(&first).await;
    // With the subscription's beginning, what is watched already is looked at: once at its start, once more here.
    let listens = |requests: &[String]| {
        let count = |wanted: &str| requests.iter().filter(|request| plain(request) == wanted).count();
        count("GET /events") == 1 && count("GET /containers/ID/json") == 2
    };
    until("the driver listens to events", || listens(&counter.0.lock().unwrap())).await;
    counter.take();

    let task = fixture.task("second", "exec sleep 1000");
    let started = fixture.run(&task).await;
    let start = counter.take();
    fixture.driver.stop_task(started.id.clone(), std::time::Duration::ZERO, String::new()).await.unwrap();
    fixture.driver.wait_task(started.id.clone()).await.unwrap();
    let stop = counter.take();

    let image = conformance::image();
    let expected = [
        format!("GET /images/{image}/json"),
        "POST /containers/create".to_owned(),
        "POST /containers/ID/start".to_owned(),
        "GET /containers/ID/json".to_owned(),
    ];
    assert_eq!(start, expected);
    assert_eq!(stop, ["POST /containers/ID/kill", "GET /containers/ID/json"]);
    fixture.end().await;
}

#[tokio::test]
async fn statistics_end_in_order_while_only_the_kernel_knows_of_the_tasks_end() {
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new((Mutex::new(false), Condvar::new()));
    let gate = held.clone();
    let relay = Relay::start(directory.path(), move |request| {
        let inspects = plain(request) == "GET /containers/ID/json";
        let closed = gate.0.lock().unwrap();
        drop(gate.1.wait_while(closed, |closed| *closed && inspects).unwrap());
    });
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await;
    let task = fixture.task("brief", "exec sleep 1000");
    let started = fixture.run(&task).await;
    let pid = inspect(&task.container())["State"]["Pid"].as_i64().unwrap();
    let open = || fixture.driver.task_stats(started.id.clone(), Duration::from_millis(50));
    let mut before = open().await.unwrap();
    before.next().await.unwrap().unwrap();

    *held.0.lock().unwrap() = true;
    docker(&["kill", &task.container()]);
    until("the process's end", || !Path::new(&format!("/proc/{pid}")).exists()).await;
    let mut after: Vec<_> = open().await.unwrap().collect().await;
    after.extend(before.skip_while(|sample| ready(sample.is_ok())).collect::<Vec<_>>().await);
    *held.0.lock().unwrap() = false;
    held.1.notify_all();
    fixture.driver.wait_task(started.id.clone()).await.unwrap();
    after.extend(open().await.unwrap().collect::<Vec<_>>().await);

    assert!(after.is_empty(), "{after:?}");
    fixture.end().await;
}

#[tokio::test]
async fn ten_tasks_that_run_and_log_have_one_log_holder_and_few_threads() {
    let fixture = Fixture::start().await;
    let mut tasks = Vec::new();
    for number in 0..10 {
        let task = fixture.task(&format!("t{number}"), "n=0; while :; do n=$((n+1)); echo \"a $n\"; sleep 0.05; done");
        fixture.run(&task).await;
        tasks.push(task);
    }
    for task in &tasks {
        task.pipes.stdout.wait_for("lines", |bytes| conformance::lines::last_number(bytes, "a") >= 10);
    }
    let pid = fixture.driver.reattach_config().pid;

    let mut children = String::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        children += &std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap();
    }
    let names: Vec<String> = children
        .split_whitespace()
        .map(|child| std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap().trim().to_owned())
        .collect();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();

    assert_eq!(names, ["log-holder"]);
    // The runtime's workers and its blocking pool, the main thread and the one that opens log files: none is a task's.
    let workers = thread::available_parallelism().unwrap().get();
    assert!(threads <= 2 * workers + 8, "{threads} threads for ten tasks on {workers} processors");
    fixture.end().await;
}
