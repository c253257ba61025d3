//! Images that the driver pulled are removed when no task uses them any more; all others are kept.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use conformance::{
    DEADLINE, Fixture, LABEL, Started, Task,
    docker::{docker, has_containerd_store, is_local},
    dockerd::Dockerd,
    image, object,
    registry::{Access, Registry, build_with_layer},
    relay::Relay,
    text, until,
};
use nomad_plugin::{driver::Force, msgpack::Value};

async fn driver(delay: &str) -> Fixture {
    driver_with(delay, &[]).await
}

async fn driver_with(delay: &str, env: &[(&str, &str)]) -> Fixture {
    Fixture::with(object(&[("gc", object(&[("image_delay", text(delay))]))]), env).await.looked_at().await
}

trait LookedAt {
    async fn looked_at(self) -> Self;
}

impl LookedAt for Fixture {
    /// The first fingerprint is where a driver begins to collect garbage.
    async fn looked_at(self) -> Self {
        let _closed_again = self.driver.fingerprint().await.expect("the driver answers");
        self
    }
}

fn task(fixture: &Fixture, image: &str) -> Task {
    fixture.task("web", "sleep 1000").option("image", text(image))
}

async fn destroy(fixture: &Fixture, task: &Started) {
    fixture.driver.destroy_task(task.id.clone(), Force::Yes).await.expect("it is destroyed");
}

/// Waits until another image has come and gone: by then the driver has looked at all.
async fn until_another_is_removed(fixture: &Fixture, registry: &mut Registry, name: &str) {
    let other = registry.push_new(name);
    let started = fixture.run(&task(fixture, &other)).await;
    destroy(fixture, &started).await;
    until("the other image is gone", || !is_local(&other)).await;
}

#[tokio::test]
async fn a_pulled_image_is_removed_with_its_last_task() {
    let mut registry = Registry::start(Access::Anonymous);
    let image = registry.push_new("app:1");
    let fixture = driver("1s").await;
    let first = fixture.run(&task(&fixture, &image)).await;
    let second = fixture.run(&task(&fixture, &image)).await;

    destroy(&fixture, &first).await;
    until_another_is_removed(&fixture, &mut registry, "other:1").await;
    assert!(is_local(&image), "the second task uses it");
    destroy(&fixture, &second).await;
    until("the image is gone", || !is_local(&image)).await;

    fixture.end().await;
}

#[tokio::test]
async fn a_pulled_image_is_removed_when_its_task_fails_to_start() {
    let mut registry = Registry::start(Access::Anonymous);
    let image = registry.push_new("app:1");
    let fixture = driver("1s").await;

    let task = task(&fixture, &image).option("command", text("/no/such/program"));
    assert!(fixture.driver.start_task(task.config.clone()).await.is_err());

    until("the image is gone", || !is_local(&image)).await;
    fixture.end().await;
}

#[tokio::test]
async fn an_image_that_was_there_before_is_not_removed() {
    let mut registry = Registry::start(Access::Anonymous);
    let (image, latest) = (registry.push_new("app:1"), registry.push_new("app:latest"));
    docker(&["pull", "--quiet", &image]);
    docker(&["pull", "--quiet", &latest]);
    let fixture = driver("1s").await;

    // The registry is asked for the latter, and has nothing new.
    for image in [&image, &latest] {
        let started = fixture.run(&task(&fixture, image)).await;
        destroy(&fixture, &started).await;
    }
    until_another_is_removed(&fixture, &mut registry, "other:1").await;

    assert!(is_local(&image) && is_local(&latest));
    fixture.end().await;
}

#[tokio::test]
async fn an_image_that_a_person_pulled_by_digest_is_not_removed() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = ["before:1", "meanwhile:1"].map(|name| registry.push_new(name));
    let [before, meanwhile] = [0, 1].map(|number| registry.pinned(&pushed[number]));
    // The same registry by another name.
    let meanwhile = registry.also(meanwhile.replace("127.0.0.1", "localhost"));
    docker(&["pull", "--quiet", &before]);
    let fixture = driver("1s").await;

    let mut tasks = Vec::new();
    for image in &pushed {
        tasks.push(fixture.run(&task(&fixture, image)).await);
    }
    docker(&["pull", "--quiet", &meanwhile]);
    for task in &tasks {
        destroy(&fixture, task).await;
    }
    until("the driver's own name is gone", || !is_local(&pushed[1])).await;
    until_another_is_removed(&fixture, &mut registry, "other:1").await;

    assert!(is_local(&before) && is_local(&meanwhile));
    fixture.end().await;
}

#[tokio::test]
async fn a_persons_tag_outlives_the_drivers_digest_and_so_does_his_digest_where_the_engine_reports_it() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = ["tag:1", "digest:1"].map(|name| registry.push_new(name));
    let pinned = [0, 1].map(|number| registry.pinned(&pushed[number]));
    let fixture = driver("1s").await;
    let (drivers, persons) = ([&pinned[0], &pushed[1]], [&pushed[0], &pinned[1]]);

    let mut tasks = Vec::new();
    for image in drivers {
        tasks.push(fixture.run(&task(&fixture, image)).await);
    }
    for image in persons {
        docker(&["pull", "--quiet", image]);
    }
    for task in &tasks {
        destroy(&fixture, task).await;
    }
    until_another_is_removed(&fixture, &mut registry, "other:1").await;

    assert!(is_local(persons[0]));
    assert_eq!(is_local(persons[1]), has_containerd_store());
    fixture.end().await;
}

#[tokio::test]
async fn another_name_and_another_container_retain_what_they_need() {
    let mut registry = Registry::start(Access::Anonymous);
    let (named, used) = (registry.push_new("named:1"), registry.push_new("used:1"));
    let fixture = driver("1s").await;
    let mut tasks = Vec::new();
    for image in [&named, &used] {
        tasks.push(fixture.run(&task(&fixture, image)).await);
    }
    let mine = registry.also(format!("longshore-test/mine-{}:1", std::process::id()));
    docker(&["tag", &named, &mine]);
    let label = format!("--label={LABEL}={}", fixture.directory().display());
    let container = docker(&["create", &label, &used, "true"]);

    for task in &tasks {
        destroy(&fixture, task).await;
    }
    until("the driver's own name is gone", || !is_local(&named)).await;
    until_another_is_removed(&fixture, &mut registry, "other:1").await;
    assert!(is_local(&mine), "it has a name of somebody else's");
    assert!(is_local(&used), "a container of somebody else's uses it");

    docker(&["rm", container.trim()]);
    until("nobody uses it any more", || !is_local(&used)).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_new_process_of_the_driver_knows_what_the_old_one_pulled() {
    let mut registry = Registry::start(Access::Anonymous);
    let (ended, running) = (registry.push_new("ended:1"), registry.push_new("running:1"));
    let mut fixture = driver("2s").await;
    let ending = task(&fixture, &ended);
    fixture.run(&ending).await;
    let continuing = fixture.run(&task(&fixture, &running)).await;

    docker(&["rm", "--force", &ending.container()]);
    fixture.kill_and_start_again().await;
    fixture.driver.recover_task(continuing.handle.clone()).await.expect("it is recovered");
    let fixture = fixture.looked_at().await;
    until("the ended task's image is gone", || !is_local(&ended)).await;
    assert!(is_local(&running), "its task runs");
    destroy(&fixture, &continuing).await;
    until("the other is gone as well", || !is_local(&running)).await;

    fixture.end().await;
}

#[tokio::test]
async fn a_loaded_image_is_removed_as_a_pulled_one_is() {
    let mut registry = Registry::start(Access::Anonymous);
    let name = registry.also(format!("longshore-test/archived-{}:1", std::process::id()));
    let fixture = driver("1s").await;
    let task = task(&fixture, &name).option("load", text("image.tar"));
    let archive = task.alloc_dir().join("web/local/image.tar").display().to_string();
    docker(&["tag", &image(), &name]);
    docker(&["save", "--output", &archive, &name]);
    docker(&["rmi", &name]);

    let started = fixture.run(&task).await;
    assert!(is_local(&name));
    destroy(&fixture, &started).await;

    // Its content is the test image, which keeps that name.
    until("the name is gone", || !is_local(&name)).await;
    assert!(is_local(&image()));
    fixture.end().await;
}

/// The engine's socket, on which each pull of `latest` and each load waits to be let through.
struct Gate {
    address: String,
    waiting: Arc<AtomicUsize>,
    open: mpsc::Sender<()>,
    _directory: tempfile::TempDir,
}

impl Gate {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (open, opened) = mpsc::channel();
        let (opened, waiting) = (Mutex::new(opened), Arc::<AtomicUsize>::default());
        let counted = waiting.clone();
        let relay = Relay::start(directory.path(), move |request| {
            if request.contains("tag=latest") || request.contains("/images/load?") {
                counted.fetch_add(1, Ordering::SeqCst);
                let _test_is_over = opened.lock().expect("no other has panicked").recv();
                counted.fetch_sub(1, Ordering::SeqCst);
            }
        });
        Self { address: relay.address(), waiting, open, _directory: directory }
    }

    fn let_one_through(&self) {
        self.open.send(()).expect("the relay lives as long as the test");
    }
}

/// Moves images from the engine to an archive.
fn archive(archive: &Path, images: &[&str]) {
    docker(&[&["save", "--output", &archive.display().to_string()], images].concat());
    docker(&[&["rmi"], images].concat());
}

#[tokio::test]
async fn an_idle_image_is_not_removed_while_its_name_is_pulled_or_loaded_again() {
    let mut registry = Registry::start(Access::Anonymous);
    let pulled = registry.push_new("app:latest");
    let loaded = registry.also(format!("longshore-test/again-{}:latest", std::process::id()));
    let directory = tempfile::tempdir().expect("a directory");
    build_with_layer(&loaded, 1);
    let file = directory.path().join("image.tar");
    archive(&file, &[&loaded]);
    let gate = Gate::start();
    // Longer where all is slower: the second task must come before it is over.
    let delay = format!("{}s", DEADLINE.as_secs() / 60);
    let fixture = driver_with(&delay, &[("DOCKER_HOST", &gate.address)]).await;
    let make = |image: &str| {
        let task = task(&fixture, image);
        if image == pulled {
            return task;
        }
        std::fs::copy(&file, task.alloc_dir().join("web/local/image.tar")).expect("it is copied");
        task.option("load", text("image.tar"))
    };

    for image in [&pulled, &loaded] {
        gate.let_one_through();
        let first = fixture.run(&make(image)).await;
        destroy(&fixture, &first).await;
        let second = make(image);
        let meanwhile = async {
            until("the engine is about to be asked", || gate.waiting.load(Ordering::SeqCst) == 1).await;
            until_another_is_removed(&fixture, &mut registry, "other:1").await;
            let stayed = is_local(image);
            gate.let_one_through();
            stayed
        };
        let (second, stayed) = tokio::join!(fixture.run(&second), meanwhile);
        assert!(stayed, "{image}");
        destroy(&fixture, &second).await;
        until("it is gone after its second task", || !is_local(image)).await;
    }

    fixture.end().await;
}

#[tokio::test]
async fn an_operator_who_switches_image_removal_off_retains_images() {
    let mut registry = Registry::start(Access::Anonymous);
    let image = registry.push_new("app:1");
    let gc = object(&[("image", Value::Bool(false)), ("image_delay", text("0s"))]);
    let fixture = Fixture::with(object(&[("gc", gc)]), &[]).await.looked_at().await;
    let started = fixture.run(&task(&fixture, &image)).await;

    destroy(&fixture, &started).await;
    fixture.end().await;

    assert!(is_local(&image));
}

#[tokio::test]
async fn what_was_loaded_into_one_engine_is_somebody_elses_in_another_of_the_same_id() {
    let mut registry = Registry::start(Access::Anonymous);
    let [loaded, other] = ["brought", "other"].map(|name| {
        let name = registry.also(format!("longshore-test/{name}-{}:1", std::process::id()));
        build_with_layer(&name, 1);
        name
    });
    let directory = tempfile::tempdir().expect("a directory");
    let [of_loaded, of_other] = ["brought.tar", "other.tar"].map(|name| directory.path().join(name));
    archive(&of_loaded, &[&loaded]);
    archive(&of_other, &[&other]);
    let engine = Dockerd::start();
    let twin = engine.twin();
    let state_dir = directory.path().join("state").display().to_string();
    let driver = async |engine: &Dockerd, delay: &str| {
        let config = object(&[("gc", object(&[("image_delay", text(delay))])), ("state_dir", text(&state_dir))]);
        Fixture::with(config, &[("DOCKER_HOST", &engine.address())]).await.looked_at().await
    };
    let loading = |fixture: &Fixture, image: &str, archive: &Path| {
        let task = task(fixture, image).option("load", text("image.tar"));
        std::fs::copy(archive, task.alloc_dir().join("web/local/image.tar")).expect("it is copied");
        task
    };
    let has = |engine: &Dockerd, image: &str| !engine.run(&["images", "--quiet", image]).is_empty();

    let fixture = driver(&engine, "1h").await;
    fixture.run(&loading(&fixture, &loaded, &of_loaded)).await;
    fixture.end().await;
    // Somebody loads the same one into the other engine, where the driver looks at all that it has pulled.
    twin.run(&["load", "--quiet", "--input", &of_loaded.display().to_string()]);
    let fixture = driver(&twin, "1s").await;
    let started = fixture.run(&loading(&fixture, &other, &of_other)).await;
    destroy(&fixture, &started).await;
    until("the other image is gone", || !has(&twin, &other)).await;
    fixture.end().await;
    assert!(has(&twin, &loaded), "it is somebody else's there");

    let fixture = driver(&engine, "1s").await;
    until("the image is removed where the driver loaded it", || !has(&engine, &loaded)).await;
    fixture.end().await;
}
