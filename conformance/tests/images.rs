//! Images from a real registry, with and without credentials, and from archives.

use std::path::Path;

use conformance::{
    DEADLINE, Fixture, Task,
    docker::{docker, has_containerd_store, inspect, is_local},
    object,
    registry::{Access, PASSWORD, Registry, USERNAME, build_with_layer},
    text, texts,
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
async fn an_image_is_pulled_once_and_its_owner_told() {
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

    for (refusal, image) in [(of_latest, latest), (of_forced, forced)] {
        assert!(refusal.message.starts_with(&format!("Failed to pull `{image}`: ")), "{}", refusal.message);
        assert_eq!(refusal.recoverability, Recoverability::Recoverable);
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

    let refusal = fixture.refused(&task(&fixture, &image)).await;

    assert!(refusal.message.starts_with(&format!("Failed to pull `{image}`: ")), "{}", refusal.message);
    let said = if has_containerd_store() { "not found" } else { "manifest" };
    assert!(refusal.message.contains(said), "{}", refusal.message);
    assert_eq!(refusal.recoverability, Recoverability::Recoverable);
    fixture.end().await;
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_before_anything_is_asked() {
    let fixture = Fixture::start().await;

    let refusal = fixture.refused(&task(&fixture, "No Image")).await;

    let expected = "unable to create local docker image \"No Image\": does not match registry specification";
    assert_eq!(refusal, DriverError::new(expected));
    fixture.end().await;
}

#[tokio::test]
async fn a_tasks_own_password_opens_the_registry_and_is_never_told() {
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

    for refusal in [without, wrong] {
        assert!(refusal.message.starts_with(&format!("Failed to pull `{image}`: ")), "{}", refusal.message);
        assert!(!refusal.message.contains("sword"), "{}", refusal.message);
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
async fn the_operators_helper_opens_the_registry_and_what_it_says_of_another_is_told() {
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

/// An archive of the test image under a name that the engine has only from there.
struct Archive {
    image: String,
    bytes: Vec<u8>,
}

impl Archive {
    fn of(name: &str) -> Self {
        let image = format!("longshore-test/{name}:{}", std::process::id());
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("image.tar").display().to_string();
        docker(&["tag", &conformance::image(), &image]);
        docker(&["save", "--output", &file, &image]);
        docker(&["rmi", &image]);
        Self { image, bytes: std::fs::read(file).expect("an archive") }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if is_local(&self.image) {
            docker(&["rmi", &self.image]);
        }
    }
}

#[tokio::test]
async fn an_image_is_loaded_from_an_archive_in_the_tasks_directory() {
    let archive = Archive::of("loaded");
    let fixture = Fixture::start().await;
    let task = task(&fixture, &archive.image).option("load", text("image.tar"));
    let path = task.alloc_dir().join("web/local/image.tar");

    let absent = fixture.refused(&task).await;
    std::fs::write(&path, &archive.bytes).expect("it is written");
    fixture.run(&task).await;

    let expected = format!("unable to open image archive: open {}: ", path.display());
    assert!(absent.message.starts_with(&expected), "{}", absent.message);
    assert_eq!(inspect(&task.container())["Config"]["Image"], archive.image.as_str());
    fixture.end().await;
}

#[tokio::test]
async fn an_image_is_loaded_from_a_directory_of_the_host_that_the_operator_allows() {
    let archive = Archive::of("of-the-host");
    let host = tempfile::tempdir().expect("a directory");
    let at = |path: &str| host.path().join(path);
    std::fs::create_dir(at("images")).expect("a directory");
    for path in ["images/app.tar", "beside.tar"] {
        std::fs::write(at(path), &archive.bytes).expect("it is written");
    }
    std::os::unix::fs::symlink("../beside.tar", at("images/link.tar")).expect("a link");
    let task = |fixture: &Fixture, path: &str| {
        task(fixture, &archive.image).option("load", text(&at(path).display().to_string()))
    };
    let closed = Fixture::start().await;
    let allowed = texts(&[&at("images").display().to_string()]);
    let open = Fixture::with(object(&[("load_dirs", allowed)]), &[]).await;

    let mut refusals = vec![closed.refused(&task(&closed, "images/app.tar")).await];
    for outside in ["beside.tar", "images/../beside.tar", "images/link.tar", "images"] {
        refusals.push(open.refused(&task(&open, outside)).await);
    }
    assert!(!is_local(&archive.image));
    let loaded = task(&open, "images/app.tar");
    open.run(&loaded).await;

    for refusal in refusals {
        assert!(refusal.message.starts_with("unable to open image archive: open "), "{}", refusal.message);
    }
    assert_eq!(inspect(&loaded.container())["Config"]["Image"], archive.image.as_str());
    closed.end().await;
    open.end().await;
}

#[tokio::test]
async fn an_archive_that_is_broken_is_refused_in_the_engines_words() {
    let archive = Archive::of("broken");
    let fixture = Fixture::start().await;
    let refused = async |bytes: &[u8]| {
        let task = task(&fixture, &archive.image).option("load", text("image.tar"));
        let path = task.alloc_dir().join("web/local/image.tar");
        std::fs::write(&path, bytes).expect("it is written");
        let said = fixture.refused(&task).await.message;
        let words = said.strip_prefix(&format!("unable to load image archive {}: ", path.display()));
        words.unwrap_or_else(|| panic!("{said}")).to_owned()
    };

    let truncated = refused(&archive.bytes[..archive.bytes.len() / 2]).await;
    let garbage = refused(&[b'x'; 4096]).await;

    assert!(truncated.contains("unexpected EOF"), "{truncated}");
    assert!(garbage.contains("tar"), "{garbage}");
    assert!(!is_local(&archive.image));
    fixture.end().await;
}

#[tokio::test]
async fn an_archive_without_the_image_is_refused_with_what_it_has() {
    let archive = Archive::of("another");
    let fixture = Fixture::start().await;
    let task = task(&fixture, "longshore-test/wanted:1").option("load", text("image.tar"));
    let path = task.alloc_dir().join("web/local/image.tar");
    std::fs::write(&path, &archive.bytes).expect("it is written");

    let refusal = fixture.refused(&task).await;

    let expected = format!(
        "the image archive {} has no image \"longshore-test/wanted:1\"; it has {}",
        path.display(),
        archive.image
    );
    assert_eq!(refusal, DriverError::fatal(expected));
    fixture.end().await;
}

/// A private image that another task's password has brought to this node.
struct Private {
    /// Before the registry, which removes the image when it goes.
    fixture: Fixture,
    registry: Registry,
    image: String,
}

impl Private {
    async fn start(config: &str) -> Self {
        let mut registry = Registry::start(Access::Password);
        let image = registry.push_anew("private:1");
        let fixture = Fixture::configured(config).await;
        let private = Self { fixture, registry, image };
        private.fixture.run(&private.with(PASSWORD)).await;
        private
    }

    fn with(&self, password: &str) -> Task {
        let auth = object(&[("username", text(USERNAME)), ("password", text(password))]);
        task(&self.fixture, &self.image).option("auth", auth)
    }
}

#[tokio::test]
async fn a_private_image_on_disk_is_for_those_to_whom_the_registry_gives_it() {
    let mut private = Private::start("verify_cached_image_access = true").await;
    let Private { fixture, image, .. } = &private;
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", image]);
    let renamed = format!("longshore-test/renamed:{}", std::process::id());
    docker(&["tag", image, &renamed]);

    let without = fixture.refused(&task(fixture, image)).await;
    let wrong = fixture.refused(&private.with("sword-of-damocles")).await;
    let by_id = fixture.refused(&task(fixture, id.trim())).await;
    let by_another_name = fixture.refused(&task(fixture, &renamed)).await;
    fixture.run(&private.with(PASSWORD)).await;
    docker(&["rmi", &renamed]);
    private.registry.stop();
    let unreachable = private.fixture.refused(&private.with(PASSWORD)).await;

    for (refusal, image) in [
        (&without, private.image.as_str()),
        (&wrong, private.image.as_str()),
        (&by_id, id.trim()),
        (&by_another_name, renamed.as_str()),
    ] {
        let expected = format!("no access to image `{image}`, which is on this node: its registry ");
        assert!(refusal.message.starts_with(&expected), "{}", refusal.message);
        assert_eq!(refusal.recoverability, Recoverability::Recoverable);
        assert!(!refusal.message.contains("sword"), "{}", refusal.message);
    }
    assert!(wrong.message.contains("its registry refuses it to this task: "), "{}", wrong.message);
    let said = ["its registry does not confirm that this task may use it: ", "connection refused"];
    assert!(said.iter().all(|said| unreachable.message.contains(said)), "{}", unreachable.message);
    assert_eq!(unreachable.recoverability, Recoverability::Recoverable);
    assert!(never_said(&private.fixture, "sword"));
    private.fixture.end().await;
}

#[tokio::test]
async fn the_operators_credentials_and_images_of_no_registry_pass_where_access_is_verified() {
    let mut registry = Registry::start(Access::Password);
    let private = registry.push_anew("private:1");
    let auth = format!("auth {{\n  config = {:?}\n}}", registry.auth_config());
    let fixture = Fixture::configured(&format!("verify_cached_image_access = true\n{auth}")).await;
    let built = format!("longshore-test/built:{}", std::process::id());
    build_with_layer(&built, 1);

    fixture.run(&task(&fixture, &private)).await;
    registry.stop();
    let unreachable = fixture.refused(&task(&fixture, &private)).await;
    // There it has a digest as if it had been pulled.
    if has_containerd_store() {
        let built = fixture.refused(&task(&fixture, &built)).await;
        assert!(built.message.contains("its registry does not confirm"), "{}", built.message);
    } else {
        fixture.run(&task(&fixture, &built)).await;
    }

    assert!(unreachable.message.contains("its registry does not confirm"), "{}", unreachable.message);
    fixture.end().await;
    docker(&["rmi", &built]);
}

#[tokio::test]
async fn a_private_image_on_disk_is_for_all_unless_the_operator_says_otherwise() {
    let mut private = Private::start("").await;
    private.registry.stop();

    private.fixture.run(&task(&private.fixture, &private.image)).await;

    private.fixture.end().await;
}
