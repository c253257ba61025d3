//! Images of jobs under the names of those that pause containers are made of: no pause container is made of one.

use conformance::{Fixture, Task, dockerd::Dockerd, image, object, text, until};
use nomad_plugin::id::AllocId;

const BUILT_IN: &str = concat!("longshore/pause:", env!("CARGO_PKG_VERSION"));

/// The operator's image, which is in no registry that answers.
const INFRA: &str = "localhost:1/longshore-test/pause:1";

async fn driver(engine: &Dockerd, infra_image: &str) -> Fixture {
    let fixture =
        Fixture::with(object(&[("infra_image", text(infra_image))]), &[("DOCKER_HOST", &engine.address())]).await;
    // The first fingerprint is where a driver begins to collect garbage.
    let _closed_again = fixture.driver.fingerprint().await.unwrap();
    fixture
}

/// A task that loads an image of its own under a name.
fn bringing(engine: &Dockerd, fixture: &Fixture, name: &str) -> Task {
    let task = fixture.task("web", "exec sleep 1000").option("image", text(name)).option("load", text("image.tar"));
    let archive = task.alloc_dir().join("web/local/image.tar").display().to_string();
    evil(engine, name);
    engine.run(&["save", "--output", &archive, name]);
    engine.run(&["rmi", name]);
    task
}

/// Makes an image whose containers run for ever, under a name.
fn evil(engine: &Dockerd, name: &str) -> String {
    let container = engine.run(&["create", &image()]);
    let (entrypoint, label) = (r#"ENTRYPOINT ["/bin/sleep", "1000"]"#, "LABEL evil=1");
    engine.run(&["commit", "--change", entrypoint, "--change", label, container.trim(), name]);
    engine.run(&["rm", container.trim()]);
    engine.run(&["image", "inspect", "--format", "{{.Id}}", name]).trim().to_owned()
}

fn alloc() -> AllocId {
    AllocId::from(uuid::Uuid::new_v4().to_string())
}

#[tokio::test]
async fn no_job_provides_an_image_under_the_name_of_one_of_pause_containers() {
    let engine = Dockerd::start();
    let fixture = driver(&engine, INFRA).await;

    for name in [INFRA, BUILT_IN, "docker.io/longshore/pause:other", "index.docker.io/longshore/pause"] {
        let rejection = fixture.refused(&bringing(&engine, &fixture, name)).await;

        let words = format!("image {name:?} is one of pause containers: a job cannot provide it");
        assert_eq!(rejection.message, words);
        assert_eq!(engine.run(&["images", "--quiet", name]), "");
    }
    let pulled = fixture.task("web", "true").option("image", text("longshore/pause:other"));
    assert!(fixture.refused(&pulled).await.message.ends_with("a job cannot provide it"));
    fixture.end().await;
}

#[tokio::test]
async fn what_a_job_loaded_before_the_operator_chose_its_name_is_no_image_of_pause_containers() {
    let engine = Dockerd::start();
    let mut fixture = driver(&engine, "localhost:1/longshore-test/pause:0").await;
    fixture.run(&bringing(&engine, &fixture, INFRA)).await;
    let loaded = engine.run(&["image", "inspect", "--format", "{{.Id}}", INFRA]);
    let state = fixture.directory().join("state/images");
    let noted = || {
        let files = std::fs::read_dir(&state).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).any(|text| text.contains(INFRA))
    };
    until("the image is noted", noted).await;

    assert_eq!(fixture.configure(&format!("infra_image = {INFRA:?}")).await, Ok(()));
    let alloc = alloc();
    let made = fixture.driver.create_network(alloc.clone(), String::new()).await.unwrap();
    let of = engine.run(&["inspect", "--format", "{{.Image}}", &format!("nomad_init_{alloc}")]);
    fixture.driver.destroy_network(alloc, Some(made.isolation)).await.unwrap();

    assert_ne!(of, loaded);
    fixture.end().await;
}

#[tokio::test]
async fn the_container_with_sys_admin_is_made_of_the_drivers_image_even_if_another_has_its_name() {
    let engine = Dockerd::start();
    let fixture = driver(&engine, INFRA).await;
    let strange = evil(&engine, BUILT_IN);
    let alloc = alloc();
    let pause = format!("nomad_init_{alloc}");
    let image_of = |container: &str| engine.run(&["inspect", "--format", "{{.Image}} {{.Path}}", container]);

    let made = fixture.driver.create_network(alloc.clone(), String::new()).await.unwrap();
    let first = image_of(&pause);
    // It takes the name between a look and the container that is made of it.
    engine.run(&["tag", &strange, BUILT_IN]);
    let id = || engine.run(&["ps", "--quiet", "--no-trunc", "--filter", &format!("name={pause}")]);
    let before = id();
    engine.run(&["kill", &pause]);
    until("another one runs", || !["", before.as_str()].contains(&id().as_str())).await;
    let second = image_of(&pause);
    fixture.driver.destroy_network(alloc, Some(made.isolation)).await.unwrap();

    for image in [first, second] {
        assert!(!image.contains(&strange) && image.trim().ends_with(" /pause"), "{image}");
    }
    fixture.end().await;
}
