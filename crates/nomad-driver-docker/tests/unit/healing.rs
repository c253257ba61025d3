//! The network that a group's tasks share: how it is created, joined, lost and removed.

use std::time::Duration;

use fake_engine::{Container, Image, Reply};
use nomad_plugin::driver::{CreatedNetwork, Driver, NetworkIsolation, NetworkMode, Recoverability, TaskConfig};
use serde_json::json;
use tokio::time::Instant;

use crate::case::{ALLOC, Case, NODE, event, failed, text};

const PAUSE_IMAGE: &str = "registry.test/pause:1";
const PAUSE: &str = "nomad_init_5a3f0f4e-0000-4000-8000-00000000000a";
const SANDBOX: &str = "docker_sandbox_container_id";

/// A driver whose engine has the operator's pause image.
async fn case() -> Case {
    let case = Case::with([("infra_image", text(PAUSE_IMAGE))]).await;
    case.engine.add_image(Image::named(PAUSE_IMAGE));
    case
}

async fn network(case: &Case) -> CreatedNetwork {
    case.driver.create_network(ALLOC.into(), "front".into()).await.unwrap()
}

fn pause(case: &Case) -> Container {
    case.engine.container(PAUSE).unwrap()
}

/// A task of the group.
fn member(case: &Case, name: &str, network: &NetworkIsolation) -> TaskConfig {
    TaskConfig { network_isolation: Some(network.clone()), ..case.task(name) }
}

#[tokio::test(start_paused = true)]
async fn a_network_is_that_of_a_pause_container_which_says_whose_it_is() {
    let case = case().await;

    let made = network(&case).await;

    let pause = pause(&case);
    assert!(made.created && pause.is_running());
    assert_eq!((made.isolation.mode, &made.isolation.path), (NetworkMode::Group, &pause.sandbox_key()));
    assert_eq!(made.isolation.labels[SANDBOX], pause.id);
    assert_eq!(
        (&pause.request["Hostname"], &pause.request["HostConfig"]["NetworkMode"]),
        (&json!("front"), &json!("none"))
    );
    assert_eq!(pause.labels["com.hashicorp.nomad.alloc_id"], ALLOC);
    assert_eq!(pause.image_id, Image::named(PAUSE_IMAGE).id);
}

#[tokio::test(start_paused = true)]
async fn a_network_is_made_once_also_for_another_process() {
    let mut case = case().await;
    let first = network(&case).await;

    let again = network(&case).await;
    case.kill_driver().await;
    let of_another = network(&case).await;

    for later in [again, of_another] {
        assert!(!later.created);
        assert_eq!(later.isolation, first.isolation);
    }
    assert_eq!(case.requests("POST /containers/create").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_container_that_an_earlier_process_left_without_a_network_is_replaced() {
    let mut case = case().await;
    network(&case).await;
    let left = pause(&case).id;
    case.kill_driver().await;
    case.engine.exit(&left, 0);

    let made = network(&case).await;

    assert!(made.created);
    assert_ne!(pause(&case).id, left);
    assert_eq!(case.engine.containers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_container_that_cannot_be_started_is_removed() {
    let case = case().await;
    case.engine.on("POST /containers/*/start").always(Reply::error(500, "no"));

    let error = failed(case.driver.create_network(ALLOC.into(), String::new()).await);
    case.engine.until("the removal", |engine| engine.containers().is_empty()).await;
    case.engine.forget_script();

    assert!(error.message.contains("Failed to start container"), "{error}");
    assert_eq!(error.recoverability, Recoverability::Recoverable);
    assert!(network(&case).await.created);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_fails_a_network_in_a_way_that_may_be_tried_again() {
    let case = case().await;
    case.engine.stop();

    let error = failed(case.driver.create_network(ALLOC.into(), String::new()).await);
    case.engine.serve();

    assert_eq!(error.recoverability, Recoverability::Recoverable);
    assert!(network(&case).await.created);
}

#[tokio::test(start_paused = true)]
async fn an_operators_image_that_the_registry_does_not_give_for_now_is_replaced_by_the_built_in_one() {
    let case = Case::with([("infra_image", text(PAUSE_IMAGE))]).await;
    case.engine.on("POST /images/create").always(Reply::error(503, "the registry is away"));

    let made = network(&case).await;

    assert!(made.created);
    let image = pause(&case).image_id;
    let names: Vec<String> =
        case.engine.images().into_iter().filter(|known| known.id == image).flat_map(|known| known.tags).collect();
    assert!(names.len() == 1 && names[0].starts_with("longshore/pause:"), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn a_strangers_container_of_the_name_is_kept_and_the_network_has_another() {
    let case = case().await;
    let stranger = case.engine.create(PAUSE, json!({ "Image": PAUSE_IMAGE }));
    case.engine.run(&stranger);

    let made = network(&case).await;

    let id = &made.isolation.labels[SANDBOX];
    assert_ne!(*id, stranger);
    assert!(case.engine.container(id).unwrap().name.starts_with(&format!("{PAUSE}-")));
    case.driver.destroy_network(ALLOC.into(), Some(made.isolation.clone())).await.unwrap();
    assert_eq!(case.names(), [PAUSE]);
}

#[tokio::test(start_paused = true)]
async fn a_task_of_the_group_joins_its_network() {
    let case = case().await;
    let isolation = network(&case).await.isolation;
    let task = member(&case, "web", &isolation);

    case.start(&task).await;

    let joined = format!("container:{}", pause(&case).id);
    assert_eq!(case.container_of(&task).request["HostConfig"]["NetworkMode"], json!(joined));
    assert_eq!(case.container_of(&task).labels["com.hashicorp.nomad.node_id"], NODE);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_lost_is_reported_to_each_task_that_runs_in_it_and_ends_none() {
    let case = case().await;
    let isolation = network(&case).await.isolation;
    let (web, side) = (member(&case, "web", &isolation), member(&case, "side", &isolation));
    let mut events = case.task_events().await;
    case.start(&web).await;
    case.start(&side).await;
    case.subscribed().await;

    case.engine.exit(PAUSE, 137);
    let first = event(&mut events, "the network of the group is lost with its pause container").await;
    let second = event(&mut events, "the network of the group is lost with its pause container").await;

    let mut reported = [first.task_name, second.task_name];
    reported.sort();
    assert_eq!(reported, ["side", "web"]);
    assert!(case.container_of(&web).is_running() && case.container_of(&side).is_running());
}

#[tokio::test(start_paused = true)]
async fn a_task_cannot_start_in_a_network_that_is_lost_and_no_attempt_will_help() {
    let case = case().await;
    let isolation = network(&case).await.isolation;
    case.engine.remove(PAUSE);

    let error = failed(case.driver.start_task(member(&case, "web", &isolation)).await);

    assert!(error.message.starts_with("the network of the group is lost with its pause container; "), "{error}");
    assert_eq!(error.recoverability, Recoverability::Fatal);
    assert_eq!(case.names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_look_for_its_network_may_be_tried_again() {
    let case = case().await;
    let isolation = network(&case).await.isolation;
    case.engine.on("GET /containers/*/json").always(Reply::error(500, "no"));

    let error = failed(case.driver.start_task(member(&case, "web", &isolation)).await);

    assert_eq!(error.recoverability, Recoverability::Recoverable);
    case.engine.forget_script();
    case.start(&member(&case, "web", &isolation)).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_engine_leaves_every_network() {
    let case = case().await;
    let isolation = network(&case).await.isolation;
    let task = member(&case, "web", &isolation);
    case.start(&task).await;
    case.subscribed().await;

    case.engine.restart();
    case.pass(Duration::from_secs(120)).await;

    case.start(&member(&case, "side", &isolation)).await;
    assert_eq!(case.requests("POST /containers/create").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_owner_of_a_recovered_task_is_notified_of_the_loss_of_its_network() {
    let mut case = case().await;
    let isolation = network(&case).await.isolation;
    let task = member(&case, "web", &isolation);
    let handle = case.start(&task).await.handle;
    case.kill_driver().await;
    let mut events = case.task_events().await;
    case.driver.recover_task(handle).await.unwrap();

    case.engine.exit(PAUSE, 1);

    assert_eq!(event(&mut events, "the network of the group is lost").await.task_id, task.id);
}

#[tokio::test(start_paused = true)]
async fn a_network_is_removed_once_and_its_absence_is_fine() {
    let case = case().await;
    let isolation = network(&case).await.isolation;

    case.driver.destroy_network(ALLOC.into(), Some(isolation.clone())).await.unwrap();
    assert_eq!(case.names(), [""; 0]);
    case.driver.destroy_network(ALLOC.into(), Some(isolation)).await.unwrap();
    case.driver.destroy_network(ALLOC.into(), None).await.unwrap();

    let stops = case.requests("POST /containers/*/stop");
    assert!(stops.iter().all(|stop| stop.query("t") == "1"), "{stops:?}");
    assert!(network(&case).await.created);
}

#[tokio::test(start_paused = true)]
async fn the_removal_of_a_network_outlives_a_restart_of_the_engine() {
    let case = case().await;
    let isolation = network(&case).await.isolation;
    case.engine.stop();
    let returns = async {
        case.pass(Duration::from_secs(30)).await;
        case.engine.serve();
    };
    let began = Instant::now();

    let (removed, ()) = tokio::join!(case.driver.destroy_network(ALLOC.into(), Some(isolation)), returns);

    removed.unwrap();
    assert_eq!(case.names(), [""; 0]);
    assert!((30..35).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
