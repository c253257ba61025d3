//! Pulls whose answer breaks: what the engine pulled all the same is the driver's, and nothing else is.

use std::time::Duration;

use fake_engine::{Image, Reply};
use futures_util::StreamExt;
use nomad_plugin::{
    driver::{Driver, Force, Recoverability, TaskConfig},
    msgpack::Value,
};
use serde_json::json;

use crate::case::{Case, failed, faults, object, text};

const APP: &str = "registry.test/app:2";

/// Longer than the driver looks for what came of a pull.
const LONG: Duration = Duration::from_secs(1200);

async fn case() -> Case {
    let gc = [("image_delay", text("30s")), ("container", Value::Bool(true))];
    let case = Case::with([("gc", object(gc))]).await;
    case.engine.add_to_registry(Image::named(APP));
    begin(&case).await;
    case
}

/// Images are removed from the first fingerprint on.
async fn begin(case: &Case) {
    case.driver.fingerprint().await.unwrap().next().await.unwrap();
}

fn task(case: &Case) -> TaskConfig {
    case.task_with("web", [("image", text(APP))])
}

fn has(engine: &fake_engine::FakeEngine) -> bool {
    engine.images().iter().any(|image| image.tags.iter().any(|tag| tag == APP))
}

/// Each leaves the image in the engine.
fn unanswered() -> impl Iterator<Item = (&'static str, Reply)> {
    let without = ["closed before the effect", "an error without effect", "no answer"];
    faults().into_iter().filter(move |(name, _)| !without.contains(name))
}

async fn removed(case: &Case, what: &str) {
    case.engine.until(what, |engine| !has(engine)).await;
}

#[tokio::test(start_paused = true)]
async fn an_image_whose_pull_has_no_answer_is_removed_like_any_other() {
    for (what, fault) in unanswered() {
        let case = case().await;
        case.engine.on("POST /images/create").always(fault);

        let error = failed(case.driver.start_task(task(&case)).await);

        assert_eq!(error.recoverability, Recoverability::Recoverable, "{what}: {error}");
        assert!(has(&case.engine), "{what}");
        removed(&case, what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_whose_pull_has_no_answer_is_removed_after_the_task_that_the_next_attempt_starts() {
    for (what, fault) in unanswered() {
        let case = case().await;
        case.engine.on("POST /images/create").once(fault);
        failed(case.driver.start_task(task(&case)).await);

        case.start(&task(&case)).await;
        case.pass(LONG).await;
        assert!(has(&case.engine), "{what}: it is in use");
        case.driver.destroy_task(task(&case).id, Force::Yes).await.unwrap();

        removed(&case, what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_the_engine_has_only_after_the_driver_gave_up_is_removed() {
    let case = case().await;
    case.engine.on("POST /images/create").always(Reply::hang());
    failed(case.driver.start_task(task(&case)).await);

    case.pass(Duration::from_secs(300)).await;
    case.engine.add_image(Image::named(APP));

    removed(&case, "the removal").await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_the_engine_has_only_after_the_task_was_given_up_is_removed() {
    let case = case().await;
    case.engine.on("POST /images/create").always(Reply::hang());
    tokio::select! {
        _ = case.driver.start_task(task(&case)) => panic!("the engine hangs"),
        _ = case.engine.asked("POST /images/create") => {}
    }

    case.pass(Duration::from_secs(60)).await;
    case.engine.add_image(Image::named(APP));

    removed(&case, "the removal").await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_a_killed_driver_was_pulling_is_removed_by_the_next_one() {
    let mut case = case().await;
    case.engine.on("POST /images/create").always(Reply::hang());
    tokio::select! {
        _ = case.driver.start_task(task(&case)) => panic!("the engine hangs"),
        _ = case.engine.asked("POST /images/create") => {}
    }
    case.kill_driver().await;
    case.engine.add_image(Image::named(APP));

    begin(&case).await;

    removed(&case, "the removal").await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_there_before_a_pull_without_an_answer_remains() {
    for (what, fault) in unanswered() {
        let case = case().await;
        case.engine.add_image(Image::named(APP));
        case.engine.on("POST /images/create").always(fault);
        let task = case.task_with("web", [("image", text(APP)), ("force_pull", Value::Bool(true))]);

        failed(case.driver.start_task(task).await);
        case.pass(LONG).await;

        assert!(has(&case.engine), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_without_an_answer_takes_only_the_name_that_it_added() {
    let case = case().await;
    case.engine.add_image(Image { tags: vec!["persons:1".to_owned()], ..Image::named(APP) });
    case.engine.on("POST /images/create").always(Reply::lose_answer());

    failed(case.driver.start_task(task(&case)).await);
    removed(&case, "the removal").await;
    case.pass(LONG).await;

    assert!(case.engine.images().iter().any(|image| image.tags == ["persons:1"]), "{:?}", case.engine.images());
}

#[tokio::test(start_paused = true)]
async fn what_a_person_pulls_after_the_registry_has_refused_the_job_is_the_persons() {
    let unknown = json!({ "errorDetail": { "message": "manifest unknown" }, "error": "manifest unknown" });
    for refusal in [Reply::error(404, "pull access denied"), Reply::json(200, unknown)] {
        let case = case().await;
        case.engine.on("POST /images/create").always(refusal);

        failed(case.driver.start_task(task(&case)).await);
        case.engine.add_image(Image::named(APP));
        case.pass(LONG).await;

        assert!(has(&case.engine));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_pulls_long_after_a_pull_without_an_answer_is_the_persons() {
    let case = case().await;
    case.engine.on("POST /images/create").always(Reply::hang());

    failed(case.driver.start_task(task(&case)).await);
    case.pass(Duration::from_secs(700)).await;
    case.engine.add_image(Image::named(APP));
    case.pass(LONG).await;

    assert!(has(&case.engine));
}
