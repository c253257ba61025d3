//! Tasks and strangers under the names of pause containers: none becomes, joins or blocks a group's network, and none is
//! kept as one.

use std::{path::Path, time::Duration};

use conformance::{DEADLINE, Fixture, Task, dockerd::Dockerd, image, object, text, until_within};
use nomad_plugin::{driver::Force, id::AllocId, msgpack::Value};

async fn driver(engine: &Dockerd) -> Fixture {
    let dangling = [("period", text("1s")), ("creation_grace", text("1m")), ("enabled", Value::Bool(true))];
    let gc = object(&[("dangling_containers", object(&dangling))]);
    // It is nowhere, so that the built-in image is used.
    let config = object(&[("gc", gc), ("infra_image", text("localhost:1/longshore-test/pause:1"))]);
    Fixture::with(config, &[("DOCKER_HOST", &engine.address())]).await
}

fn names(engine: &Dockerd) -> Vec<String> {
    let mut names: Vec<_> = engine.run(&["ps", "--all", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// A task of an allocation with a network.
async fn task_with_network(fixture: &Fixture, name: &str) -> Task {
    let mut task = fixture.task(name, "exec sleep 1000").option("network_mode", text(""));
    let made = fixture.driver.create_network(task.config.alloc_id.clone(), String::new()).await.unwrap();
    task.config.network_isolation = Some(made.isolation);
    task
}

#[tokio::test]
async fn what_is_left_of_a_task_that_is_named_like_a_pause_container_is_removed() {
    let engine = Dockerd::start();
    let mut fixture = driver(&engine).await;
    let task = fixture.task("nomad_init_x", "exec sleep 1000");
    fixture.run(&task).await;
    assert_eq!(names(&engine), [task.container()]);

    // Nobody hands it over.
    fixture.kill_and_start_again().await;
    let _closed_again = fixture.driver.fingerprint().await.unwrap();

    let patience = Duration::from_secs(60) + *DEADLINE;
    until_within(patience, "the task's container is removed", || names(&engine).is_empty()).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_task_with_the_name_of_another_allocations_pause_container_neither_blocks_nor_becomes_its_network() {
    let engine = Dockerd::start();
    let fixture = driver(&engine).await;
    let first = fixture.task("nomad_init_x", "exec sleep 1000");
    fixture.run(&first).await;
    // An allocation whose pause container would have that name.
    let alloc = AllocId::from(first.container().strip_prefix("nomad_init_").unwrap());
    let id = || engine.run(&["inspect", "--format", "{{.Id}}", &first.container()]).trim().to_owned();
    let of_task = id();

    let made = fixture.driver.create_network(alloc.clone(), String::new()).await.unwrap();
    let found = fixture.driver.create_network(alloc.clone(), String::new()).await.unwrap();
    let pause = made.isolation.labels["docker_sandbox_container_id"].clone();
    let names_of_pause = names(&engine);
    fixture.driver.destroy_network(alloc.clone(), Some(made.isolation.clone())).await.unwrap();

    assert!(made.created && !found.created);
    assert_eq!(found.isolation, made.isolation);
    assert_ne!(pause, of_task);
    assert!(names_of_pause.iter().any(|name| name.starts_with(&format!("nomad_init_{alloc}-"))), "{names_of_pause:?}");
    // Its end takes nothing of the task's along.
    assert_eq!(id(), of_task);
    assert_eq!(names(&engine), [first.container()]);
    fixture.driver.destroy_network(alloc, None).await.unwrap();
    assert_eq!(names(&engine), [first.container()]);
    fixture.end().await;
}

#[tokio::test]
async fn a_stranger_in_the_place_of_a_pause_container_that_died_is_left_alone_and_the_network_lives_on() {
    let engine = Dockerd::start();
    let fixture = driver(&engine).await;
    let task = task_with_network(&fixture, "web").await;
    let alloc = task.config.alloc_id.clone();
    let namespace = format!("/run/netns/longshore-{alloc}");
    let pause = format!("nomad_init_{alloc}");
    let label = format!("--label=com.hashicorp.nomad.alloc_id={alloc}");
    let volume = format!("--volume={}:/alloc", fixture.directory().display());

    // It mounts what a task's container mounts, as a task's would that had its name.
    engine.run(&["rename", &pause, "away"]);
    engine.run(&["run", "--detach", "--name", &pause, &label, &volume, &image(), "sleep", "1000"]);
    engine.run(&["rm", "--force", "away"]);
    let started = fixture.run(&task).await;
    let mode = engine.run(&["inspect", "--format", "{{.HostConfig.NetworkMode}}", &task.container()]);
    let strange = engine.run(&["inspect", "--format", "{{.Id}}", &pause]);

    assert!(!mode.contains(strange.trim()), "{mode}");
    assert!(Path::new(&namespace).exists());
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
    fixture.driver.destroy_network(alloc, task.config.network_isolation.clone()).await.unwrap();
    assert!(!Path::new(&namespace).exists());
    assert_eq!(names(&engine), [pause]);
    fixture.end().await;
}
