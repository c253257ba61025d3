//! Images from a real registry, with and without credentials, and from archives.

mod archives;
mod on_disk;

use std::path::Path;

use conformance::{
    DEADLINE, Fixture, Task,
    docker::{docker, has_containerd_store, inspect, is_local},
    object,
    registry::{Access, PASSWORD, Registry, USERNAME},
    text,
};
use futures_util::StreamExt;
use nomad_plugin::{
    driver::{DriverError, Recoverability},
    msgpack::Value,
};
use tokio::time::timeout;

fn task(fixture: &Fixture, image: &str) -> Task {
    fixture.task("web", "sleep 60").option("image", text(image))
}

fn never_said(fixture: &Fixture, secret: &str) -> bool {
    fixture.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter().all(|line| !line.contains(secret))
}

#[tokio::test]
async fn an_image_is_pulled_once_and_reported() {
    let mut registry = Registry::start(Access::Anonymous);
    let image = registry.push("app:1");
    let fixture = Fixture::start().await;
    let mut events = fixture.driver.task_events().await.expect("the driver answers");
    let first = task(&fixture, &image);

    fixture.run(&first).await;
    registry.stop();
    // Of an image that is there nothing is said: the next event is that of another one.
    let second = task(&fixture, &image);
    fixture.run(&second).await;
    let other = task(&fixture, &image.replace("app:1", "other:1"));
    fixture.refused(&other).await;

    for task in [&first, &other] {
        let event = timeout(*DEADLINE, events.next()).await.unwrap().expect("an event").expect("the driver answers");
        assert_eq!(event.message, "Downloading image");
        assert_eq!(text(&event.annotations["image"]), task.options["image"]);
        assert_eq!((&event.task_id, event.task_name.as_str()), (&task.config.id, "web"));
    }
    for task in [first, second] {
        assert_eq!(inspect(&task.container())["Config"]["Image"], image.as_str());
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_pull_that_finds_nothing_new_says_so() {
    let mut registry = Registry::start(Access::Anonymous);
    let latest = registry.push("app");
    let fixture = Fixture::start().await;
    let mut events = fixture.driver.task_events().await.expect("the driver answers");

    for expected in [&["Downloading image"][..], &["Downloading image", "Image already present"]] {
        fixture.run(&task(&fixture, &latest)).await;
        for expected in expected {
            let event =
                timeout(*DEADLINE, events.next()).await.unwrap().expect("an event").expect("the driver answers");
            assert_eq!(event.message, *expected);
            assert!(event.annotations["image"].starts_with(&latest), "{event:?}");
        }
    }
    fixture.end().await;
}

#[tokio::test]
async fn the_latest_image_and_a_forced_pull_ask_the_registry_each_time() {
    let mut registry = Registry::start(Access::Anonymous);
    let (latest, forced) = (registry.push("app"), registry.push("app:1"));
    let fixture = Fixture::start().await;
    fixture.run(&task(&fixture, &latest)).await;
    fixture.run(&task(&fixture, &forced)).await;

    registry.stop();
    let of_latest = fixture.refused(&task(&fixture, &latest)).await;
    let of_forced = fixture.refused(&task(&fixture, &forced).option("force_pull", Value::Bool(true))).await;

    for (rejection, image) in [(of_latest, latest), (of_forced, forced)] {
        assert!(rejection.message.starts_with(&format!("Failed to pull `{image}`: ")), "{}", rejection.message);
        assert_eq!(rejection.recoverability, Recoverability::Recoverable);
        assert!(is_local(&image));
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_image_is_pulled_by_its_digest() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push("app:1");
    docker(&["pull", "--quiet", &pushed]);
    let digests = docker(&["image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", &pushed]);
    let digest = digests.lines().find(|digest| digest.starts_with(&registry.address)).expect("a digest").to_owned();
    let image = registry.also(digest);
    docker(&["rmi", &pushed]);
    let fixture = Fixture::start().await;
    let task = task(&fixture, &image);

    fixture.run(&task).await;

    assert_eq!(inspect(&task.container())["Config"]["Image"], image.as_str());
    fixture.end().await;
}

#[tokio::test]
async fn an_image_that_the_registry_does_not_have_may_be_there_later() {
    let registry = Registry::start(Access::Anonymous);
    let fixture = Fixture::start().await;
    let image = format!("{}/longshore-test/absent:1", registry.address);

    let rejection = fixture.refused(&task(&fixture, &image)).await;

    assert!(rejection.message.starts_with(&format!("Failed to pull `{image}`: ")), "{}", rejection.message);
    let said = if has_containerd_store() { "not found" } else { "manifest" };
    assert!(rejection.message.contains(said), "{}", rejection.message);
    assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    fixture.end().await;
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_before_anything_is_asked() {
    let fixture = Fixture::start().await;

    let rejection = fixture.refused(&task(&fixture, "No Image")).await;

    let expected = "unable to create local docker image \"No Image\": does not match registry specification";
    assert_eq!(rejection, DriverError::new(expected));
    fixture.end().await;
}

#[tokio::test]
async fn a_tasks_own_password_opens_the_registry_and_is_never_disclosed() {
    let mut registry = Registry::start(Access::Password);
    let image = registry.push("app:1");
    let fixture = Fixture::start().await;
    let with = |password: &str| {
        let auth = object(&[
            ("username", text(USERNAME)),
            ("password", text(password)),
            ("server_address", text(&registry.address)),
            ("email", text("somebody@longshore.test")),
        ]);
        task(&fixture, &image).option("auth", auth)
    };

    let without = fixture.refused(&task(&fixture, &image)).await;
    let wrong = fixture.refused(&with("sword-of-damocles")).await;
    fixture.run(&with(PASSWORD)).await;

    for rejection in [without, wrong] {
        assert!(rejection.message.starts_with(&format!("Failed to pull `{image}`: ")), "{}", rejection.message);
        assert!(!rejection.message.contains("sword"), "{}", rejection.message);
    }
    assert!(never_said(&fixture, "sword"));
    fixture.end().await;
}

#[tokio::test]
async fn the_operators_file_opens_the_registry() {
    let mut registry = Registry::start(Access::Password);
    let image = registry.push("app:1");
    let auth = object(&[("config", text(&registry.auth_config().display().to_string()))]);
    let fixture = Fixture::with(object(&[("auth", auth)]), &[]).await;

    fixture.run(&task(&fixture, &image)).await;

    assert!(never_said(&fixture, PASSWORD));
    fixture.end().await;
}

#[tokio::test]
async fn the_operators_helper_opens_the_registry_and_what_it_says_of_another_is_reported() {
    let mut registry = Registry::start(Access::Password);
    let image = registry.push("app:1");
    let helpers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let path = format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap_or_default());
    let env = [
        ("PATH", path.as_str()),
        ("TEST_REGISTRY", &registry.address),
        ("TEST_USERNAME", USERNAME),
        ("TEST_PASSWORD", PASSWORD),
    ];
    let auth = object(&[("helper", text("longshore-test"))]);
    let fixture = Fixture::with(object(&[("auth", auth)]), &env).await;
    let other = task(&fixture, "registry.invalid/app:1");

    fixture.run(&task(&fixture, &image)).await;
    let strict = fixture.refused(&other).await;
    let soft = fixture.refused(&other.option("auth_soft_fail", Value::Bool(true))).await;

    let expected = "Failed to find docker auth for repo \"registry.invalid/app\": docker-credential-longshore-test \
                    with input \"registry.invalid\" failed with stderr: credentials not found\n";
    assert_eq!(strict, DriverError::new(expected));
    assert!(soft.message.starts_with("Failed to pull `registry.invalid/app:1`: "), "{}", soft.message);
    assert!(never_said(&fixture, PASSWORD));
    fixture.end().await;
}
