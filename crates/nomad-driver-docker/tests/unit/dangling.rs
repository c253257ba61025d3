//! What a killed process of the driver left, and nobody hands over.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use fake_engine::Container;
use futures_util::StreamExt;
use nomad_plugin::{
    driver::{Driver, TaskConfig},
    msgpack::Value,
};

use crate::case::{ALLOC, Case, object, text};

const HOUR: Duration = Duration::from_secs(3600);

async fn case() -> Case {
    let dangling = object([("period", text("1s")), ("creation_grace", text("1m"))]);
    Case::with([("gc", object([("dangling_containers", dangling), ("container", Value::Bool(true))]))]).await
}

/// Starts a task, kills the driver's process and begins to search in another one. Returns the task's container.
async fn orphan(case: &mut Case, task: &TaskConfig, meanwhile: impl FnOnce(&Case)) -> Container {
    case.start(task).await;
    let left = case.container_of(task);
    case.engine.change(&left.id, |container| container.created_at -= HOUR);
    case.kill_driver().await;
    meanwhile(case);
    case.driver.fingerprint().await.unwrap().next().await.unwrap();
    left
}

/// Lets two passes end.
async fn two_passes(case: &Case) {
    let list = "GET /containers/json";
    let before = case.requests(list).len();
    // The third one begins when the second has ended.
    case.engine.asked_times(list, before + 3).await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_is_removed_although_the_next_process_does_not_know_the_node() {
    type Spoil = fn(&Case);
    let spoils: [(&str, Spoil); 4] = [
        ("as it was left", |_| ()),
        ("lost", |case| fs::remove_file(case.state_dir().join("node.json")).unwrap()),
        ("empty", |case| fs::write(case.state_dir().join("node.json"), "").unwrap()),
        ("half-written", |case| fs::write(case.state_dir().join("node.json"), "{\"id\": \"b5").unwrap()),
    ];
    for (what, spoil) in spoils {
        for runs in [true, false] {
            let mut case = case().await;
            let task = case.task("web");

            let left = orphan(&mut case, &task, |case| {
                if !runs {
                    case.engine.exit(&task_container(case, &task), 1);
                }
                spoil(case);
            })
            .await;

            case.engine.until(what, |engine| engine.container(&left.id).is_none()).await;
        }
    }
}

fn task_container(case: &Case, task: &TaskConfig) -> String {
    case.container_of(task).id
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_was_writing_is_removed_and_a_half_written_record_of_a_network_hinders_nothing() {
    let mut case = case().await;
    let made = case.driver.create_network(ALLOC.into(), String::new()).await.unwrap();
    let engine = fs::read_dir(case.state_dir().join("networks")).unwrap().next().unwrap().unwrap().path();
    let half =
        ["node.json.new", "images/engine.json.new", "containers/c0ffee00c0ffee00.new", "pause-images/c0ffee00c0ff.new"];
    let half: Vec<_> =
        half.map(|name| case.state_dir().join(name)).into_iter().chain([engine.join("a1.new")]).collect();
    for file in &half {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::File::create(file).unwrap().set_modified(SystemTime::now() - HOUR).unwrap();
    }
    fs::write(engine.join(ALLOC), "{\"alloc_dir\": \"/da").unwrap();

    case.kill_driver().await;
    case.driver.fingerprint().await.unwrap().next().await.unwrap();
    two_passes(&case).await;
    let left: Vec<_> = half.iter().filter(|file| file.exists()).collect();
    let again = case.driver.create_network(ALLOC.into(), String::new()).await.unwrap();
    case.driver.destroy_network(ALLOC.into(), Some(again.isolation.clone())).await.unwrap();

    assert_eq!(left, [""; 0].map(PathBuf::from).iter().collect::<Vec<_>>());
    assert_eq!((again.created, again.isolation), (false, made.isolation));
    assert_eq!((case.names(), case.recorded_networks()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_orphan_of_an_agent_that_names_no_node_is_removed() {
    let mut case = case().await;
    let task = TaskConfig { node_id: String::new(), ..case.task("web") };

    let left = orphan(&mut case, &task, |_| ()).await;

    case.engine.until("the removal", |engine| engine.container(&left.id).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_in_a_directory_that_several_agents_use_makes_nothing_an_orphan() {
    let mut case = case().await;
    let task = case.task("web");

    let left = orphan(&mut case, &task, |case| fs::write(case.state_dir().join("lock"), "shared\n").unwrap()).await;
    two_passes(&case).await;

    assert!(case.engine.container(&left.id).unwrap().is_running());
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_a_task_takes_over_remains() {
    let mut case = case().await;
    let task = case.task("web");
    let handle = case.start(&task).await.handle;
    let left = case.container_of(&task);
    case.engine.change(&left.id, |container| container.created_at -= HOUR);
    case.kill_driver().await;

    case.driver.recover_task(handle).await.unwrap();
    case.driver.fingerprint().await.unwrap().next().await.unwrap();
    two_passes(&case).await;

    assert!(case.engine.container(&left.id).unwrap().is_running());
}
