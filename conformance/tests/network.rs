//! The network of an allocation: a pause container that its tasks share.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashSet,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use conformance::{
    Fixture,
    docker::{docker, inspect},
    dockerd::Dockerd,
    event_that, image, object,
    relay::Relay,
    text, until,
};
use futures_util::future::join_all;
use nomad_plugin::{
    client::ClientError,
    driver::{Force, NetworkIsolation, NetworkMode, Recoverability},
    id::AllocId,
};

/// An image that waits, removed on drop.
struct PauseImage(String);

impl PauseImage {
    fn make(name: &str) -> Self {
        let name = format!("longshore-test/pause-{name}:{}", std::process::id());
        let container = docker(&["create", &image()]);
        docker(&["commit", "--change", r#"CMD ["sleep", "1000000"]"#, container.trim(), &name]);
        docker(&["rm", container.trim()]);
        Self(name)
    }

    async fn fixture(&self) -> Fixture {
        Fixture::with(object(&[("infra_image", text(&self.0))]), &[]).await
    }

    fn containers(&self) -> String {
        docker(&["ps", "--all", "--quiet", "--filter", &format!("ancestor={}", self.0)])
    }
}

impl Drop for PauseImage {
    fn drop(&mut self) {
        for left in self.containers().lines() {
            docker(&["rm", "--force", left]);
        }
        docker(&["rmi", &self.0]);
    }
}

fn is_same_file(one: &str, other: &str) -> bool {
    let identity = |path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).expect("it is there");
    identity(one) == identity(other)
}

fn pause_containers(alloc: &AllocId) -> String {
    let name = format!("name=nomad_init_{alloc}");
    docker(&["ps", "--all", "--filter", &name, "--format", "{{.Names}}"])
}

/// How many of the allocations have something under `/run/netns`.
fn namespaces_of(allocs: &[AllocId]) -> usize {
    let names = std::fs::read_dir("/run/netns").unwrap().map(|entry| entry.unwrap().file_name());
    let names: HashSet<String> = names.map(|name| name.into_string().unwrap()).collect();
    allocs.iter().filter(|alloc| names.contains(&format!("longshore-{alloc}"))).count()
}

#[tokio::test]
async fn a_network_is_made_once_and_removed() {
    let pause = PauseImage::make("once");
    let fixture = pause.fixture().await;
    let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());

    let made = fixture.driver.create_network(alloc.clone(), "web-1".into()).await.unwrap();
    let found = fixture.driver.create_network(alloc.clone(), "web-1".into()).await.unwrap();
    let container = inspect(&format!("nomad_init_{alloc}"));
    let is_its_namespace =
        is_same_file(&made.isolation.path, container["NetworkSettings"]["SandboxKey"].as_str().unwrap());
    fixture.driver.destroy_network(alloc.clone(), Some(made.isolation.clone())).await.unwrap();

    assert!(made.created && !found.created);
    assert_eq!(made.isolation, found.isolation);
    let id = container["Id"].as_str().unwrap();
    let labels = [("docker_sandbox_container_id", id), ("docker_sandbox_hostname", "web-1")];
    let expected = NetworkIsolation {
        mode: NetworkMode::Group,
        path: format!("/run/netns/longshore-{alloc}"),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        hosts: None,
    };
    assert_eq!(made.isolation, expected);
    assert!(is_its_namespace && !Path::new(&expected.path).exists(), "it is kept as long as the network is");
    assert_eq!(container["HostConfig"]["NetworkMode"], "none");
    // Engines say it in either way.
    assert!(["", "no"].contains(&container["HostConfig"]["RestartPolicy"]["Name"].as_str().unwrap()));
    assert_eq!(container["Config"]["Hostname"], "web-1");
    assert_eq!(container["Config"]["Labels"]["com.hashicorp.nomad.alloc_id"], alloc.as_str());
    assert_eq!(pause_containers(&alloc), "");
    fixture.end().await;
}

#[tokio::test]
async fn a_dead_pause_container_is_replaced() {
    let pause = PauseImage::make("dead");
    let fixture = pause.fixture().await;
    let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());
    let (name, label) = (format!("nomad_init_{alloc}-old"), format!("--label=com.hashicorp.nomad.alloc_id={alloc}"));
    let dead = docker(&["create", "--name", &format!("nomad_init_{alloc}"), &label, &pause.0]);
    docker(&["create", "--name", &name, &label, &pause.0]);

    let made = fixture.driver.create_network(alloc.clone(), String::new()).await.unwrap();
    fixture.driver.destroy_network(alloc.clone(), Some(made.isolation.clone())).await.unwrap();

    assert!(made.created);
    assert_ne!(made.isolation.labels["docker_sandbox_container_id"], dead.trim());
    assert_eq!(made.isolation.labels.get("docker_sandbox_hostname"), None);
    assert_eq!(pause_containers(&alloc), "");
    fixture.end().await;
}

#[tokio::test]
async fn a_pause_image_whose_name_is_none_is_named() {
    let fixture = Fixture::with(object(&[("infra_image", text("No Image"))]), &[]).await;
    let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());

    let error = fixture.driver.create_network(alloc.clone(), String::new()).await.unwrap_err().to_string();

    let expected = "unable to pull infra docker image \"No Image\": unable to create local docker image \"No Image\": \
                    does not match registry specification";
    assert_eq!(error, expected);
    assert_eq!(pause_containers(&alloc), "");
    fixture.end().await;
}

#[tokio::test]
async fn fifty_networks_are_made_and_removed_at_once() {
    let pause = PauseImage::make("fifty");
    let fixture = pause.fixture().await;
    let allocs: Vec<AllocId> = (0..50).map(|_| AllocId::from(uuid::Uuid::new_v4().to_string())).collect();

    let made = join_all(allocs.iter().map(|alloc| fixture.driver.create_network(alloc.clone(), String::new()))).await;
    let made: Vec<_> = made.into_iter().map(|made| made.unwrap().isolation).collect();
    let ran = pause.containers();
    let namespaces = namespaces_of(&allocs);
    let destroy = |(alloc, made): (&AllocId, &NetworkIsolation)| {
        fixture.driver.destroy_network(alloc.clone(), Some(made.clone()))
    };
    let destroyed = join_all(allocs.iter().zip(&made).map(destroy)).await;

    let paths: HashSet<&str> = made.iter().map(|made| made.path.as_str()).collect();
    assert_eq!((paths.len(), ran.lines().count(), namespaces), (50, 50, 50));
    assert!(destroyed.iter().all(Result::is_ok), "{destroyed:?}");
    assert_eq!((pause.containers().as_str(), namespaces_of(&allocs)), ("", 0));
    fixture.end().await;
}

/// A socket at which the start of a container waits.
struct Held {
    relay: Relay,
    /// One waits.
    waits: Arc<AtomicBool>,
    /// None does from now on, when this is dropped.
    release: mpsc::Sender<()>,
}

impl Held {
    fn before(engine: &Dockerd) -> Self {
        let waits = Arc::<AtomicBool>::default();
        let (release, released) = mpsc::channel();
        let (reached, released) = (waits.clone(), Mutex::new(released));
        let relay = Relay::before(&engine.socket(), engine.directory(), move |request| {
            if request.lines().next().unwrap_or_default().contains("/start") {
                reached.store(true, Ordering::Relaxed);
                let _released = released.lock().unwrap().recv();
            }
        });
        Self { relay, waits, release }
    }

    async fn fixture(&self) -> Fixture {
        // It is nowhere, so that the built-in image is used.
        let config = object(&[("infra_image", text("localhost:1/longshore-test/pause:1"))]);
        Fixture::with(config, &[("DOCKER_HOST", &self.relay.address())]).await
    }

    async fn waits(&self) {
        until("the container is about to be started", || self.waits.load(Ordering::Relaxed)).await;
    }
}

/// What the driver has noted of networks.
fn noted(fixture: &Fixture) -> usize {
    let engines = std::fs::read_dir(fixture.directory().join("state/networks")).into_iter().flatten();
    engines.map(|engine| std::fs::read_dir(engine.unwrap().path()).unwrap().count()).sum()
}

/// What the driver has noted of images.
fn noted_images(fixture: &Fixture) -> String {
    let engines = std::fs::read_dir(fixture.directory().join("state/images")).into_iter().flatten();
    engines.map(|engine| std::fs::read_to_string(engine.unwrap().path()).unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_network_that_nobody_waits_for_any_more_leaves_nothing() {
    let engine = Dockerd::start();
    let held = Held::before(&engine);
    let fixture = held.fixture().await;
    let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());

    let known = tokio::select! {
        made = fixture.driver.create_network(alloc.clone(), "web-1".into()) => panic!("{made:?}"),
        () = held.waits() => noted(&fixture),
    };

    assert_eq!(known, 1, "it is known before anything of it is there");
    until("the container is gone", || engine.run(&["ps", "--all", "--quiet"]).is_empty()).await;
    until("it is known no longer", || noted(&fixture) == 0).await;
    drop(held.release);
    fixture.end().await;
}

#[tokio::test]
async fn a_network_that_was_being_made_when_the_engine_died_is_made_when_it_is_back() {
    let mut engine = Dockerd::start();
    let held = Held::before(&engine);
    let fixture = held.fixture().await;
    let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());

    let death = async {
        held.waits().await;
        engine.kill();
        drop(held.release);
    };
    let (failed, ()) = tokio::join!(fixture.driver.create_network(alloc.clone(), "web-1".into()), death);
    engine.begin();
    until("nothing is left", || engine.run(&["ps", "--all", "--quiet"]).is_empty() && noted(&fixture) == 0).await;
    let made = fixture.driver.create_network(alloc.clone(), "web-1".into()).await.unwrap();
    let namespaces = namespaces_of(std::slice::from_ref(&alloc));
    fixture.driver.destroy_network(alloc.clone(), Some(made.isolation.clone())).await.unwrap();

    let Err(ClientError::Driver(error)) = failed else { panic!("{failed:?}") };
    assert_eq!(error.recoverability, Recoverability::Recoverable, "{error}");
    assert!(made.created);
    assert_eq!((namespaces, namespaces_of(&[alloc]), noted(&fixture)), (1, 0, 0));
    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
    fixture.end().await;
}

#[tokio::test]
async fn the_built_in_pause_image_stands_in_for_one_that_cannot_be_had_and_says_so() {
    let built_in = concat!("longshore/pause:", env!("CARGO_PKG_VERSION"));
    let engine = Dockerd::start();
    let wanted = "localhost:1/longshore-test/pause:1";
    let config = [("infra_image", text(wanted)), ("gc", object(&[("image_delay", text("1s"))]))];
    let fixture = Fixture::with(object(&config), &[("DOCKER_HOST", &engine.address())]).await;
    // The first fingerprint is where a driver begins to collect garbage.
    let _closed_again = fixture.driver.fingerprint().await.unwrap();
    let mut events = fixture.driver.task_events().await.unwrap();
    let mut task = fixture.task("web", "sleep 1000").option("network_mode", text(""));
    let alloc = task.config.alloc_id.clone();
    let pause = format!("nomad_init_{alloc}");

    let made = fixture.driver.create_network(alloc.clone(), "web-1".into()).await.unwrap();
    task.config.network_isolation = Some(made.isolation.clone());
    let started = fixture.run(&task).await;
    let report = event_that(&mut events, "built-in", |event| event.message.contains("built-in image")).await;
    let facts =
        engine.run(&["inspect", "--format", "{{.Config.Image}} {{.Config.Hostname}} {{.State.Running}}", &pause]);
    let size = engine.run(&["image", "inspect", "--format", "{{.Size}}", built_in]);
    let id = engine.run(&["image", "inspect", "--format", "{{.Id}}", built_in]);
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
    engine.run(&["stop", &pause]);
    // The container is gone as soon as another one follows it; the engine's events stay. Until when they are
    // reported counts in whole seconds.
    let (whose, code) = (format!("container={pause}"), "{{.Actor.Attributes.exitCode}}");
    let ends = ["--filter", "event=die", "--filter", &whose, "--format", code];
    let code = engine.run(&[&["events", "--since=10m", "--until=-1s"][..], &ends].concat());
    fixture.driver.destroy_network(alloc, Some(made.isolation)).await.unwrap();

    let expected = format!(
        "The network uses the built-in image {built_in}: unable to pull infra docker image {wanted:?}: Failed to pull "
    );
    assert!(report.message.starts_with(&expected), "{}", report.message);
    assert_eq!(report.task_name, "web");
    assert_eq!(facts.trim(), format!("{} web-1 true", id.trim()));
    assert!(size.trim().parse::<u64>().unwrap() < 1 << 20, "{size}");
    assert_eq!(code.trim(), "0", "it ends by the signal and is not killed");
    until("the image is gone", || !engine.run(&["images"]).contains("longshore/pause")).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_new_process_of_the_driver_leaves_the_image_of_a_network_in_peace() {
    let engine = Dockerd::start();
    let removals: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = removals.clone();
    let relay = Relay::before(&engine.socket(), engine.directory(), move |request| {
        let line = request.lines().next().unwrap_or_default();
        if line.starts_with("DELETE ") && line.contains("/images/") {
            seen.lock().unwrap().push(line.to_owned());
        }
    });
    // The built-in image counts as one that the driver pulled.
    let config =
        [("infra_image", text("localhost:1/longshore-test/pause:1")), ("gc", object(&[("image_delay", text("1s"))]))];
    let mut fixture = Fixture::with(object(&config), &[("DOCKER_HOST", &relay.address())]).await;
    let mut task = fixture.task("web", "sleep 1000").option("network_mode", text(""));
    let alloc = task.config.alloc_id.clone();
    let made = fixture.driver.create_network(alloc.clone(), "web-1".into()).await.unwrap();
    task.config.network_isolation = Some(made.isolation.clone());
    let started = fixture.run(&task).await;
    // The first fingerprint is where a driver begins to collect garbage.
    let _closed_again = fixture.driver.fingerprint().await.unwrap();
    until("the image is noted", || noted_images(&fixture).contains("longshore/pause")).await;

    fixture.kill_and_start_again().await;
    fixture.driver.recover_task(started.handle).await.unwrap();
    // What joins the network has looked at it.
    let mut other = fixture.task("other", "true").option("network_mode", text(""));
    other.config.alloc_id = alloc.clone();
    other.config.network_isolation = Some(made.isolation.clone());
    fixture.output(&other).await;
    let _closed_again = fixture.driver.fingerprint().await.unwrap();
    // An image that came later has gone: by then the driver has looked at all.
    let name = "longshore-test/archived:1";
    let loaded = fixture.task("loaded", "true").option("image", text(name)).option("load", text("image.tar"));
    let archive = loaded.alloc_dir().join("loaded/local/image.tar").display().to_string();
    let container = engine.run(&["create", &image()]);
    engine.run(&["commit", "--change", "LABEL other=1", container.trim(), name]);
    engine.run(&["rm", container.trim()]);
    engine.run(&["save", "--output", &archive, name]);
    engine.run(&["rmi", name]);
    fixture.output(&loaded).await;
    fixture.driver.destroy_task(loaded.config.id.clone(), Force::Yes).await.unwrap();
    until("the other image is gone", || !engine.run(&["images"]).contains("longshore-test/archived")).await;

    let removals = removals.lock().unwrap().clone();
    assert!(removals.iter().any(|line| line.contains("archived")), "{removals:?}");
    assert!(!removals.iter().any(|line| line.contains("pause")), "{removals:?}");
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
    fixture.driver.destroy_network(alloc, Some(made.isolation)).await.unwrap();
    fixture.end().await;
}
