//! What an image's name means, by what a real registry is asked for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use conformance::{
    Fixture, Task,
    docker::inspect,
    object,
    registry::{Access, Registry},
    relay::Relay,
    text,
};
use nomad_plugin::msgpack::Value;

/// A driver whose pulls are counted on their way to the engine.
struct Counted {
    fixture: Fixture,
    pulls: Arc<Mutex<usize>>,
    _directory: tempfile::TempDir,
}

impl Counted {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pulls = Arc::new(Mutex::new(0));
        let counted = pulls.clone();
        let relay = Relay::start(directory.path(), move |request| {
            if request.contains("/images/create?") {
                *counted.lock().unwrap() += 1;
            }
        });
        let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await;
        Self { fixture, pulls, _directory: directory }
    }

    fn task(&self, image: &str) -> Task {
        self.fixture.task("web", "sleep 60").option("image", text(image))
    }

    /// Starts a task; how many pulls that took.
    async fn pulls(&self, task: &Task) -> usize {
        *self.pulls.lock().unwrap() = 0;
        self.fixture.run(task).await;
        *self.pulls.lock().unwrap()
    }
}

#[tokio::test]
async fn a_name_with_https_in_front_is_the_name() {
    let mut registry = Registry::start(Access::Anonymous);
    let image = registry.push("app:1");
    let counted = Counted::start().await;
    let task = counted.task(&format!("https://{image}"));

    let first = counted.pulls(&task).await;
    let second = counted.pulls(&counted.task(&image)).await;

    assert_eq!((first, second), (1, 0));
    assert_eq!(inspect(&task.container())["Config"]["Image"], image.as_str());
    counted.fixture.end().await;
}

#[tokio::test]
async fn a_digest_that_is_there_is_never_pulled_again_whatever_tag_stands_beside_it() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push("app:1");
    let digest = registry.pinned(&pushed);
    let (repository, hash) = digest.split_once('@').unwrap();
    let counted = Counted::start().await;
    let mut pulls = Vec::new();

    // A tag beside a digest says nothing, so that one need not even exist.
    for tag in ["", ":1", ":latest", ":absent"] {
        let name = format!("{repository}{tag}@{hash}");
        let task = counted.task(&name);
        pulls.push(counted.pulls(&task).await);
        assert_eq!(inspect(&task.container())["Config"]["Image"], name.as_str());
    }
    registry.stop();
    pulls.push(counted.pulls(&counted.task(&format!("{repository}:latest@{hash}"))).await);

    assert_eq!(pulls, [1, 0, 0, 0, 0]);
    counted.fixture.end().await;
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_digest_at_once() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push("app:1");
    let digest = registry.pinned(&pushed);
    let (_, hash) = digest.split_once('@').unwrap();
    let counted = Counted::start().await;
    let name = format!("{pushed}@{hash}");

    let task = counted.task(&name);
    let pulls = counted.pulls(&task).await;

    assert_eq!(pulls, 1);
    assert_eq!(inspect(&task.container())["Config"]["Image"], name.as_str());
    counted.fixture.end().await;
}

#[tokio::test]
async fn a_tag_is_pulled_once_and_the_latest_and_a_forced_pull_each_time() {
    let mut registry = Registry::start(Access::Anonymous);
    let (tag, latest) = (registry.push("app:1"), registry.push("app"));
    let counted = Counted::start().await;
    let forced = |image: &str| counted.task(image).option("force_pull", Value::Bool(true));
    let mut pulls = Vec::new();

    for task in [
        counted.task(&tag),
        counted.task(&tag),
        forced(&tag),
        counted.task(&latest),
        counted.task(&latest),
        counted.task(&format!("{latest}:latest")),
    ] {
        pulls.push(counted.pulls(&task).await);
    }

    assert_eq!(pulls, [1, 0, 1, 1, 1, 1]);
    counted.fixture.end().await;
}
