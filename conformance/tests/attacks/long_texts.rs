//! Texts of an image, a registry and a job that are long enough to break the agent's connection, and with it every task's.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use conformance::{
    Fixture, Started, Task,
    docker::docker,
    faulty_registry::{Fault, FaultyRegistry},
    image,
    registry::{Access, Registry},
    text,
};
use nomad_plugin::driver::{DriverError, WaitResult};
use serde_json::Value;

/// A few KiB, and what stands around it.
const SHORT: usize = 6 << 10;

/// The test's image with another configuration, under a name of its own, which is removed when this is dropped.
struct Variant(String);

impl Variant {
    fn load(directory: &Path, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let folder = directory.join(name);
        fs::create_dir(&folder).unwrap();
        let archive = folder.join("image.tar").display().to_string();
        docker(&["save", "--output", &archive, &image()]);
        let tar =
            |args: &[&str]| assert!(Command::new("tar").current_dir(&folder).args(args).status().unwrap().success());
        tar(&["-xf", "image.tar"]);
        fs::remove_file(&archive).unwrap();
        let read = |file: &str| serde_json::from_slice::<Value>(&fs::read(folder.join(file)).unwrap()).unwrap();
        let mut manifest = read("manifest.json");
        let config = manifest[0]["Config"].as_str().unwrap().to_owned();
        let mut changed = read(&config);
        change(&mut changed["config"]);
        let tag = format!("longshore-test/{name}:1");
        manifest[0]["RepoTags"] = vec![tag.clone()].into();
        fs::write(folder.join(&config), changed.to_string()).unwrap();
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        tar(&["-cf", "image.tar", "--exclude=./image.tar", "--exclude=./index.json", "--exclude=./oci-layout", "."]);
        docker(&["load", "--quiet", "--input", &archive]);
        Self(tag)
    }
}

impl Drop for Variant {
    fn drop(&mut self) {
        let _absent = Command::new("docker").args(["rmi", "--force", &self.0]).stdout(Stdio::null()).status();
    }
}

/// A task that is refused; the words are few, and who waited for another task on the same connection still waits.
async fn refused(fixture: &Fixture, task: &Task) -> DriverError {
    let rejection = fixture.refused(task).await;
    let length = rejection.message.len();
    assert!(length > 10 && length < SHORT, "{length} bytes: {rejection}");
    let controls = rejection.message.chars().filter(|char| char.is_control() && *char != '\n').count();
    assert_eq!(controls, 0, "{rejection}");
    rejection
}

/// Runs attacks while a caller waits for a task that nobody attacks.
async fn beside_a_waiting_task(fixture: &Fixture, attacks: impl AsyncFnOnce()) {
    let victim = fixture.task("victim", "trap 'exit 7' TERM; sleep 1000 & wait");
    let Started { id, .. } = fixture.run(&victim).await;
    let process = fixture.driver.reattach_config().pid;

    let waiting = fixture.driver.wait_task(id.clone());
    let attacked = async {
        attacks().await;
        fixture.driver.stop_task(id.clone(), Duration::from_secs(60), String::new()).await.unwrap();
    };
    let (waited, ()) = tokio::join!(waiting, attacked);

    let WaitResult { result, .. } = waited.unwrap();
    assert_eq!((result.exit_code, fixture.driver.reattach_config().pid), (7, process));
}

#[tokio::test]
async fn a_long_text_in_an_image_comes_back_short_and_no_other_call_breaks() {
    let fixture = Fixture::start().await;
    let user = |name: &str, bytes: usize| {
        let user = "no\u{1b}[2Jbody".repeat(bytes / 11);
        Variant::load(fixture.directory(), name, |config| config["User"] = user.into())
    };
    let of_image = |image: &Variant| fixture.task("web", "exit 0").option("image", text(&image.0));
    let (small, middle, large) = (user("user-1", 300 << 10), user("user-2", 2 << 20), user("user-3", 17 << 20));

    beside_a_waiting_task(&fixture, async || {
        let rejection = refused(&fixture, &of_image(&small)).await;
        assert!(rejection.message.contains(" bytes left out) "), "{rejection}");
        refused(&fixture, &of_image(&middle)).await;
        let rejection = refused(&fixture, &of_image(&large)).await;
        assert!(rejection.message.ends_with("its configuration is larger than 4 MiB"), "{rejection}");
    })
    .await;

    fixture.end().await;
}

#[tokio::test]
async fn labels_of_an_image_delay_nobodys_end() {
    let fixture = Fixture::start().await;
    let labelled = |name: &str, bytes: usize| {
        let label = "<x>".repeat(bytes / 3);
        Variant::load(fixture.directory(), name, |config| config["Labels"] = serde_json::json!({ "big": label }))
    };
    let (allowed, refused_one) = (labelled("labels-1", 512 << 10), labelled("labels-2", 40 << 20));

    beside_a_waiting_task(&fixture, async || {
        let task = fixture.task("web", "echo ran").option("image", text(&allowed.0));
        assert_eq!(fixture.output(&task).await, "ran\n");
        let task = fixture.task("web", "echo ran").option("image", text(&refused_one.0));
        refused(&fixture, &task).await;
    })
    .await;

    fixture.end().await;
}

#[tokio::test]
async fn a_registrys_long_message_comes_back_short_and_no_other_call_breaks() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push("app:1");
    let message = "denied \\u001b[2J\\n".repeat((20 << 20) / 16);
    let body: &'static str = format!(r#"{{"errors":[{{"code":"DENIED","message":"{message}"}}]}}"#).leak();
    let proxy = FaultyRegistry::start(&registry, move |asked| {
        if asked.line.contains("/manifests/") { Fault::Answer("403 Forbidden", body) } else { Fault::None }
    });
    let fixture = Fixture::start().await;

    beside_a_waiting_task(&fixture, async || {
        let task = fixture.task("web", "exit 0").option("image", text(&proxy.name(&pushed)));
        refused(&fixture, &task).await;
    })
    .await;

    fixture.end().await;
}

#[tokio::test]
async fn control_characters_in_an_option_come_back_short_and_no_other_call_breaks() {
    let fixture = Fixture::start().await;
    let long = ["\0", "\r", "\u{1b}[2J", "\u{9b}", "\"", "é"].map(|piece| piece.repeat((40 << 10) / piece.len()));

    beside_a_waiting_task(&fixture, async || {
        for piece in &long {
            for option in ["image", "mac_address", "network_mode", "runtime", "cgroupns", "image_pull_timeout"] {
                let task = fixture.task("web", "exit 0").option(option, text(piece));
                refused(&fixture, &task).await;
            }
        }
    })
    .await;

    fixture.end().await;
}
