//! What a second configuration changes, and what it does not.

use std::time::Duration;

use fake_engine::{FakeEngine, Image};
use futures_util::StreamExt;
use nomad_plugin::{
    driver::{Attribute, Driver, Force, Health},
    msgpack::Value,
};

use crate::case::{ALLOC, Case, IMAGE, container_name, failed, object, text};

/// Another engine, for which the driver is configured from now on.
async fn moved(case: &mut Case) -> FakeEngine {
    let other = FakeEngine::start();
    other.add_image(Image::named(IMAGE));
    case.configure([("endpoint", text(&other.address()))]).await;
    other
}

#[tokio::test(start_paused = true)]
async fn a_task_that_runs_is_watched_and_stopped_at_the_engine_that_runs_it() {
    let mut case = Case::new().await;
    let (web, side) = (case.task("web"), case.task("side"));
    case.start(&web).await;
    case.start(&side).await;
    case.subscribed().await;

    let other = moved(&mut case).await;
    case.engine.exit(&case.container_of(&web).id, 4);
    let end = case.wait(&web).await;
    case.driver.stop_task(side.id.clone(), Duration::from_secs(5), String::new()).await.unwrap();

    assert_eq!(end.result.exit_code, 4);
    assert_eq!(case.wait(&side).await.result.exit_code, 143);
    assert_eq!(other.requests("* /containers/*"), []);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_starts_later_does_so_at_the_new_engine_and_is_watched_there() {
    let mut case = Case::new().await;
    case.start(&case.task("web")).await;
    let other = moved(&mut case).await;
    case.engine.forget_requests();
    let later = case.task("later");

    case.start(&later).await;
    other.asked("GET /events").await;
    other.exit(&container_name(&later), 6);

    assert_eq!(case.wait(&later).await.result.exit_code, 6);
    assert_eq!(case.requests("POST *"), []);
}

#[tokio::test(start_paused = true)]
async fn a_fingerprint_stream_that_is_open_reports_the_new_engine_and_the_new_options() {
    let mut case = Case::new().await;
    let mut fingerprints = case.driver.fingerprint().await.unwrap();
    let before = fingerprints.next().await.unwrap();
    let other = moved(&mut case).await;
    case.configure([("endpoint", text(&other.address())), ("allow_privileged", Value::Bool(true))]).await;
    case.engine.stop();

    let reported = async {
        loop {
            let next = fingerprints.next().await.unwrap();
            if next.attributes.contains_key("driver.docker.privileged.enabled") {
                return next;
            }
        }
    };
    let after =
        tokio::time::timeout(Duration::from_secs(300), reported).await.expect("a fingerprint of the new options");

    assert_eq!((before.health, after.health), (Health::Healthy, Health::Healthy));
    assert!(!before.attributes.contains_key("driver.docker.privileged.enabled"));
    assert_eq!(after.attributes["driver.docker.privileged.enabled"], Attribute::Bool(true));
}

#[tokio::test(start_paused = true)]
async fn options_hold_for_the_tasks_that_start_after_them() {
    let mut case = Case::new().await;
    let privileged = case.task_with("web", [("privileged", Value::Bool(true))]);

    let before = failed(case.driver.start_task(privileged.clone()).await);
    case.configure([("allow_privileged", Value::Bool(true))]).await;
    case.start(&privileged).await;
    case.configure([("allow_privileged", Value::Bool(false))]).await;
    let after = failed(case.driver.start_task(case.task_with("side", [("privileged", Value::Bool(true))])).await);

    assert!(
        before.message.contains("Docker privileged mode is disabled") && after.message == before.message,
        "{after}"
    );
    assert!(case.container_of(&privileged).is_running());
}

#[tokio::test(start_paused = true)]
async fn a_configuration_with_a_mistake_changes_nothing() {
    let mut case = Case::new().await;

    let error =
        failed(case.try_configure([("endpoint", text("unix:///nowhere")), ("pids_limit", Value::Int(-5))]).await);

    assert!(error.message.contains("pids_limit: must be -1 or more"), "{error}");
    case.start(&case.task("web")).await;
}

const PAUSES: [&str; 2] = ["registry.test/pause:1", "registry.test/pause:2"];

/// Which image the allocation's pause container has, if there is one.
fn pause_image(engine: &FakeEngine) -> Option<String> {
    engine.container(&format!("nomad_init_{ALLOC}")).map(|pause| pause.image_id)
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_lost_and_created_again_has_the_new_pause_image() {
    let mut case = Case::with([("infra_image", text(PAUSES[0]))]).await;
    for pause in PAUSES {
        case.engine.add_image(Image::named(pause));
    }
    case.driver.create_network(ALLOC.into(), String::new()).await.unwrap();
    let before = pause_image(&case.engine);

    case.configure([("infra_image", text(PAUSES[1]))]).await;
    case.engine.remove(&format!("nomad_init_{ALLOC}"));
    case.driver.create_network(ALLOC.into(), String::new()).await.unwrap();

    let [first, second] = PAUSES.map(|pause| Some(Image::named(pause).id));
    assert_eq!((before, pause_image(&case.engine)), (first, second));
}

#[tokio::test(start_paused = true)]
async fn a_network_is_removed_from_the_engine_that_has_it() {
    let mut case = Case::with([("infra_image", text(PAUSES[0]))]).await;
    case.engine.add_image(Image::named(PAUSES[0]));
    case.driver.create_network(ALLOC.into(), String::new()).await.unwrap();
    let other = FakeEngine::start();
    other.add_image(Image::named(PAUSES[0]));
    case.configure([("endpoint", text(&other.address())), ("infra_image", text(PAUSES[0]))]).await;

    case.driver.destroy_network(ALLOC.into(), None).await.unwrap();
    let (left, here) = (pause_image(&case.engine), pause_image(&other));
    case.driver.create_network(ALLOC.into(), String::new()).await.unwrap();

    assert_eq!((left, here), (None, None));
    assert!(pause_image(&case.engine).is_none() && pause_image(&other).is_some(), "a new one is the new engine's");
}

#[tokio::test(start_paused = true)]
async fn images_of_the_new_engine_are_removed_after_the_new_delay() {
    let gc = |delay: &str| object([("image_delay", text(delay)), ("container", Value::Bool(true))]);
    let mut case = Case::with([("gc", gc("24h"))]).await;
    let mut fingerprints = case.driver.fingerprint().await.unwrap();
    fingerprints.next().await.unwrap();
    let other = FakeEngine::start();
    other.add_to_registry(Image::named(IMAGE));
    case.configure([("endpoint", text(&other.address())), ("gc", gc("3m"))]).await;
    let web = case.task("web");

    case.start(&web).await;
    let used = other.images().len();
    case.driver.destroy_task(web.id.clone(), Force::Yes).await.unwrap();
    case.pass(Duration::from_secs(400)).await;

    assert_eq!((used, other.images().len()), (1, 0));
}
