//! Containers of Nomad's that no task owns any more. The tests have engines of their own, for the driver looks at all that
//! an engine has.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use conformance::{DEADLINE, Fixture, Task, dockerd::Dockerd, image, object, text, until, until_within};
use futures_util::future::join_all;
use nomad_plugin::{driver::Force, msgpack::Value};

/// The shortest grace that the driver takes, and time to look.
fn patience() -> Duration {
    Duration::from_secs(60) + 2 * *DEADLINE
}

const ALLOC: &str = "--label=com.hashicorp.nomad.alloc_id=6cf1";

/// Of an allocation without tasks.
const OTHER_ALLOC: &str = "--label=com.hashicorp.nomad.alloc_id=6cf2";

async fn driver(engine: &Dockerd, (option, truth): (&str, bool)) -> Fixture {
    let dangling = [("period", text("1s")), ("creation_grace", text("1m")), (option, Value::Bool(truth))];
    let gc = object(&[("dangling_containers", object(&dangling))]);
    // It is nowhere, so that the built-in image is used.
    let config = object(&[("gc", gc), ("infra_image", text("localhost:1/longshore-test/pause:1"))]);
    let fixture = Fixture::with(config, &[("DOCKER_HOST", &engine.address())]).await;
    // The first fingerprint is where looking begins.
    let _closed_again = fixture.driver.fingerprint().await.expect("the driver answers");
    fixture
}

/// Makes a container that no driver knows.
fn make(engine: &Dockerd, how: &str, name: &str, labels: &[&str]) {
    let common = [how, "--name", name, "--network", "none"];
    let detach: &[&str] = if how == "run" { &["--detach"] } else { &[] };
    engine.run(&[&common, detach, labels, &[&image(), "sleep", "1000"]].concat());
}

fn names(engine: &Dockerd) -> Vec<String> {
    let mut names: Vec<_> = engine.run(&["ps", "--all", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// A task of an allocation with a network.
async fn task_with_network(fixture: &Fixture, name: &str) -> Task {
    let mut task = fixture.task(name, "true").option("network_mode", text(""));
    let made = fixture.driver.create_network(task.config.alloc_id.clone(), String::new()).await.expect("a network");
    task.config.network_isolation = Some(made.isolation);
    task
}

/// The network of an allocation whose task has ended, and whose end nobody asked for.
async fn network_of_an_ended_task(fixture: &Fixture) -> Task {
    let task = task_with_network(fixture, "ended").await;
    let started = fixture.run(&task).await;
    fixture.driver.wait_task(started.id.clone()).await.expect("it ends");
    fixture.driver.destroy_task(started.id, Force::Yes).await.expect("it is destroyed");
    task
}

fn namespace(task: &Task) -> PathBuf {
    PathBuf::from(format!("/run/netns/longshore-{}", task.config.alloc_id))
}

#[tokio::test]
async fn dangling_containers_are_removed_and_everyone_elses_remain() {
    let engine = Dockerd::start();
    let fixture = driver(&engine, ("enabled", true)).await;
    let task = fixture.task("web", "sleep 1000");
    fixture.run(&task).await;
    let ours = format!("--label=com.hashicorp.nomad.node_id={}", task.config.node_id);
    make(&engine, "run", "running-6cf1", &[ALLOC, &ours]);
    make(&engine, "create", "created-6cf1", &[ALLOC, &ours]);
    // The built-in driver names no node, but mounts the allocation's directory: that of this agent or of another one.
    let of_alloc = |root: &Path| format!("--volume={}/6cf1/alloc:/alloc", root.display());
    let elsewhere = tempfile::tempdir().unwrap();
    make(&engine, "run", "built-in-6cf1", &[ALLOC, &of_alloc(fixture.directory())]);
    make(&engine, "run", "built-in-without-6cf1", &[ALLOC]);
    make(&engine, "run", "other-agents-built-in-6cf1", &[ALLOC, &of_alloc(elsewhere.path())]);
    make(&engine, "run", "other-agents-6cf1", &[ALLOC, "--label=com.hashicorp.nomad.node_id=another"]);
    // Pause containers: those that do not run go, where their allocation has no task.
    make(&engine, "run", "nomad_init_6cf2", &[OTHER_ALLOC]);
    make(&engine, "create", "nomad_init_6cf2-created", &[OTHER_ALLOC]);
    make(&engine, "create", "nomad_init_6cf1-others", &[ALLOC]);
    let ended = network_of_an_ended_task(&fixture).await;
    std::fs::remove_dir_all(ended.alloc_dir()).unwrap();
    let failed = task_with_network(&fixture, "failed").await.option("image", text("localhost:1/longshore-test/none:1"));
    fixture.refused(&failed).await;
    std::fs::remove_dir_all(failed.alloc_dir()).unwrap();
    let waiting = network_of_an_ended_task(&fixture).await;
    // Of an image that has these labels, by which it would be taken for a task's.
    make(&engine, "run", "persons-own", &[ALLOC, &ours]);
    make(&engine, "create", "persons-own-pause", &[OTHER_ALLOC, &ours, "--label=com.hashicorp.nomad.pause=true"]);
    make(&engine, "run", "no-nomads", &[]);
    make(&engine, "create", "no-nomads-either", &[]);

    let pause = format!("nomad_init_{}", waiting.config.alloc_id);
    let mut expected = [
        "no-nomads",
        "no-nomads-either",
        "nomad_init_6cf1-others",
        "nomad_init_6cf2",
        &pause,
        "other-agents-6cf1",
        "other-agents-built-in-6cf1",
        "persons-own",
        "persons-own-pause",
        &task.container(),
    ];
    expected.sort_unstable();
    let is_removed = |task: &Task| !namespace(task).exists();
    until_within(patience(), "the dangling ones are gone", || {
        names(&engine) == expected && is_removed(&ended) && is_removed(&failed)
    })
    .await;

    assert!(!is_removed(&waiting));
    let network = waiting.config.network_isolation.clone();
    fixture.driver.destroy_network(waiting.config.alloc_id.clone(), network).await.expect("it is destroyed");
    assert!(!namespace(&waiting).exists());
    fixture.end().await;
}

/// A crash leaves containers of starts that nobody takes over, and networks of which nobody asks for the end.
#[tokio::test]
async fn after_a_crash_in_the_midst_of_starts_nothing_of_them_is_left() {
    let engine = Dockerd::start();
    let mut fixture = driver(&engine, ("unlabelled", false)).await;
    make(&engine, "run", "other-agents-6cf1", &[ALLOC, "--label=com.hashicorp.nomad.node_id=another"]);
    make(&engine, "run", "unlabelled-6cf1", &[ALLOC]);
    let running = || engine.run(&["ps", "--quiet", "--filter", "name=web-"]).lines().count();
    fixture.run(&fixture.task("web", "sleep 1000")).await;
    // The tasks of these groups wait for something before they start.
    let over = task_with_network(&fixture, "over").await;
    let waiting = task_with_network(&fixture, "waiting").await;

    let tasks: Vec<_> = (0..5).map(|_| fixture.task("web", "sleep 1000")).collect();
    let starts = join_all(tasks.iter().map(|task| fixture.driver.start_task(task.config.clone())));
    let crash = async {
        until("another container runs", || running() > 1).await;
        fixture.kill();
    };
    let (_some_unanswered, ()) = tokio::join!(starts, crash);
    fixture.start_again().await;
    std::fs::remove_dir_all(over.alloc_dir()).unwrap();
    assert!(running() > 1, "a crash ends no container");
    // No task is recovered, and none is started: only what the process before wrote down says which node this is.
    let _closed_again = fixture.driver.fingerprint().await.expect("the driver answers");

    let pause = format!("nomad_init_{}", waiting.config.alloc_id);
    let expected = [pause.as_str(), "other-agents-6cf1", "unlabelled-6cf1"];
    let is_removed = |task: &Task| !namespace(task).exists();
    until_within(patience(), "what the crash left is gone", || names(&engine) == expected && is_removed(&over)).await;

    assert!(!is_removed(&waiting));
    let network = waiting.config.network_isolation.clone();
    fixture.driver.destroy_network(waiting.config.alloc_id.clone(), network).await.expect("it is destroyed");
    fixture.end().await;
}

/// An agent asks for the removal once. The allocation's directory remains as long as the agent likes.
#[tokio::test]
async fn a_network_whose_removal_a_killed_plugin_had_begun_is_removed_by_the_next_one() {
    let mut engine = Dockerd::start();
    let mut fixture = driver(&engine, ("enabled", true)).await;
    let ended = network_of_an_ended_task(&fixture).await;
    let alloc = ended.config.alloc_id.clone();

    engine.kill();
    let destroy = fixture.driver.destroy_network(alloc.clone(), ended.config.network_isolation.clone());
    let begun = |line: &String| {
        line.contains("failed to remove the group's network; retrying") && line.contains(alloc.as_str())
    };
    tokio::select! {
        removed = destroy => panic!("{removed:?}"),
        () = until("it has begun", || fixture.log.lock().unwrap().iter().any(begun)) => {}
    }
    fixture.kill();
    engine.begin();
    fixture.start_again().await;
    let _closed_again = fixture.driver.fingerprint().await.expect("the driver answers");

    assert!(ended.alloc_dir().exists());
    until_within(patience(), "the network is gone", || names(&engine).is_empty() && !namespace(&ended).exists()).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_dry_run_names_dangling_containers_and_leaves_them_and_so_does_one_that_is_off() {
    let engine = Dockerd::start();
    let fixture = driver(&engine, ("dry_run", true)).await;
    let switched_off = driver(&engine, ("enabled", false)).await;
    make(&engine, "run", "running-6cf1", &[ALLOC]);

    let named = || {
        let log = fixture.log.lock().unwrap();
        log.iter()
            .filter(|line| line.contains("running-6cf1") && line.contains("dry_run: this container is dangling"))
            .count()
            > 1
    };
    until_within(patience(), "it is named twice", named).await;

    // Nor has the one meanwhile that is not to look at all.
    assert_eq!(names(&engine), ["running-6cf1"]);
    fixture.end().await;
    switched_off.end().await;
}
