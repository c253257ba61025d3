//! Where a registry's credentials come from, what of them the engine gets, and that nobody else does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use conformance::{
    DEADLINE, Fixture, Task, docker,
    docker::docker,
    dockerd::{Dockerd, Trust},
    object,
    registry::{Access, IDENTITY_TOKEN, PASSWORD, Registry, USERNAME},
    relay::Relay,
    text, until,
};
use futures_util::{StreamExt, stream::BoxStream};
use nomad_plugin::{client::ClientError, driver::TaskEvent, msgpack::Value};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

/// A driver with a config file and a helper, an image in a registry that asks, and an ear at the engine.
struct Scene {
    registry: Registry,
    image: String,
    fixture: Fixture,
    events: BoxStream<'static, Result<TaskEvent, ClientError>>,
    /// Each `X-Registry-Auth`, as it was sent.
    sent: Arc<Mutex<Vec<String>>>,
    files: tempfile::TempDir,
}

impl Scene {
    async fn of(access: Access) -> Self {
        let mut registry = Registry::start(access);
        let image = registry.push("app:1");
        let files = tempfile::tempdir().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let noted = sent.clone();
        let relay = Relay::of_heads(files.path(), move |head| {
            let fields = head.lines().filter_map(|line| line.split_once(": "));
            let auth = fields.filter(|(name, _)| name.eq_ignore_ascii_case("x-registry-auth"));
            noted.lock().unwrap().extend(auth.map(|(_, value)| value.to_owned()));
        });
        let helpers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let env = [
            ("PATH", &format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap_or_default())),
            ("TEST_ANSWER", &files.path().join("answer").display().to_string()),
            ("DOCKER_HOST", &relay.address()),
            ("LONGSHORE_LOG", &"trace".to_owned()),
        ];
        let config = text(&files.path().join("config.json").display().to_string());
        let auth = object(&[("config", config), ("helper", text("longshore-file"))]);
        let fixture = Fixture::with(object(&[("auth", auth)]), &env.map(|(name, value)| (name, value.as_str()))).await;
        let events = fixture.driver.task_events().await.unwrap();
        let scene = Self { registry, image, fixture, events, sent, files };
        scene.config(&json!({}));
        scene
    }

    fn config_path(&self) -> PathBuf {
        self.files.path().join("config.json")
    }

    fn config(&self, config: &Json) {
        fs::write(self.config_path(), config.to_string()).unwrap();
    }

    /// A config file with an entry for the registry.
    fn entry(&self, entry: &Json) {
        self.config(&json!({ "auths": { &self.registry.address: entry } }));
    }

    /// What the helper says from now on.
    fn answer(&self, username: &str, secret: &str) {
        let answer = json!({ "ServerURL": "", "Username": username, "Secret": secret });
        fs::write(self.files.path().join("answer"), answer.to_string()).unwrap();
    }

    /// A task whose image is pulled though it is there.
    fn task(&self) -> Task {
        let task = self.fixture.task("web", "sleep 60").option("image", text(&self.image));
        task.option("force_pull", Value::Bool(true))
    }

    /// The next event about credentials.
    async fn reported(&mut self) -> TaskEvent {
        let next = async {
            loop {
                let event = self.events.next().await.unwrap().unwrap();
                if event.message.starts_with("Registry credentials") {
                    return event;
                }
            }
        };
        timeout(*DEADLINE, next).await.expect("no event about credentials")
    }

    /// What the engine received in the last pull.
    fn sent_to_the_engine(&self) -> Json {
        let sent = self.sent.lock().unwrap().last().expect("nothing was sent").clone();
        serde_json::from_slice(&URL_SAFE.decode(sent).unwrap()).unwrap()
    }
}

fn auth(username: &str, password: &str) -> Value {
    object(&[("username", text(username)), ("password", text(password))])
}

#[tokio::test]
async fn the_first_source_that_knows_the_registry_is_taken_and_named_to_the_tasks_owner() {
    let mut scene = Scene::of(Access::Password).await;
    let (address, config) = (scene.registry.address.clone(), scene.config_path());
    let login = json!({ "auth": STANDARD.encode(format!("{USERNAME}:{PASSWORD}")) });
    let of_task = scene.task().option("auth", auth(USERNAME, PASSWORD));
    let helper = "the credential helper docker-credential-longshore-file";
    scene.answer(USERNAME, PASSWORD);
    let cases = [
        (of_task, json!("is not even read"), "the task's auth block".to_owned()),
        (
            scene.task(),
            json!({ "auths": { &address: login }, "credsStore": "none" }),
            format!("the config file {}", config.display()),
        ),
        (
            scene.task(),
            json!({ "auths": { &address: {} }, "credHelpers": { &address: "longshore-file" }, "credsStore": "none" }),
            format!("{helper} of the config file {}", config.display()),
        ),
        (
            scene.task(),
            json!({ "auths": { &address: {} }, "credsStore": "longshore-file" }),
            format!("{helper} of the config file {}", config.display()),
        ),
        (scene.task(), json!({ "auths": { &address: {} } }), helper.to_owned()),
    ];

    for (task, file, source) in cases {
        scene.config(&file);
        // The image is there by now: nothing is pulled, and nothing said of it.
        if docker::is_local(&scene.image) {
            scene.fixture.run(&scene.task().option("force_pull", Value::Bool(false))).await;
        }
        scene.fixture.run(&task).await;
        let event = scene.reported().await;

        assert_eq!(event.message, format!("Registry credentials for {address:?} taken from {source}"));
        assert_eq!((event.task_id, &event.annotations["image"]), (task.config.id.clone(), &scene.image));
        let expected = json!({ "username": USERNAME, "password": PASSWORD, "serveraddress": address });
        assert_eq!(scene.sent_to_the_engine(), expected, "{source}");
    }
    scene.fixture.end().await;
}

#[tokio::test]
async fn an_identity_token_from_a_file_or_a_helper_opens_a_registry_that_gives_tokens() {
    let mut scene = Scene::of(Access::Token).await;
    let address = scene.registry.address.clone();
    let expected = json!({ "identitytoken": IDENTITY_TOKEN, "serveraddress": address });

    scene.entry(&json!({ "identitytoken": IDENTITY_TOKEN }));
    scene.fixture.run(&scene.task()).await;
    let (of_file, by_file) = (scene.reported().await.message, scene.sent_to_the_engine());
    scene.config(&json!({}));
    scene.answer("<token>", "of-somebody-else");
    let rejection = scene.fixture.refused(&scene.task()).await;
    scene.reported().await;
    scene.answer("<token>", IDENTITY_TOKEN);
    scene.fixture.run(&scene.task()).await;
    let (of_helper, by_helper) = (scene.reported().await.message, scene.sent_to_the_engine());

    assert!(of_file.contains(" taken from the config file "), "{of_file}");
    assert!(of_helper.contains(" taken from the credential helper "), "{of_helper}");
    assert!(rejection.message.starts_with(&format!("Failed to pull `{}`: ", scene.image)), "{}", rejection.message);
    assert_eq!((by_file, by_helper), (expected.clone(), expected));
    scene.fixture.end().await;
}

#[tokio::test]
async fn a_registry_token_is_shown_to_the_registry_as_it_is() {
    let scene = Scene::of(Access::Token).await;
    let token = scene.registry.token("app:1");

    scene.entry(&json!({ "registrytoken": token }));
    scene.fixture.run(&scene.task()).await;
    let sent = scene.sent_to_the_engine();
    scene.entry(&json!({ "registrytoken": scene.registry.token("another:1") }));
    let rejection = scene.fixture.refused(&scene.task()).await;

    assert_eq!(sent, json!({ "registrytoken": token, "serveraddress": scene.registry.address }));
    assert!(rejection.message.starts_with(&format!("Failed to pull `{}`: ", scene.image)), "{}", rejection.message);
    scene.fixture.end().await;
}

#[tokio::test]
async fn a_task_that_may_continues_without_credentials_and_the_reason_is_reported() {
    let mut scene = Scene::of(Access::Anonymous).await;
    let why = format!(
        "docker-credential-longshore-file with input {:?} failed with stderr: no answer is written\n",
        scene.registry.address
    );

    let strict = scene.fixture.refused(&scene.task()).await;
    scene.fixture.run(&scene.task().option("auth_soft_fail", Value::Bool(true))).await;
    let event = scene.reported().await;

    let repository = scene.image.trim_end_matches(":1");
    assert_eq!(strict.message, format!("Failed to find docker auth for repo {repository:?}: {why}"));
    assert_eq!(event.message, format!("Registry credentials not found, going on without: {why}"));
    assert_eq!(*scene.sent.lock().unwrap(), Vec::<String>::new());
    scene.fixture.end().await;
}

#[tokio::test]
async fn a_registrys_own_authority_is_trusted_as_soon_as_the_engine_has_its_certificate() {
    let engine = Dockerd::start();
    let mut registry = Registry::start_tls(&engine);
    let (address, authority) = (registry.address.clone(), registry.authority.clone());
    let trust = Trust::begin(&address, &authority);
    let image = registry.push("app:1");
    drop(trust);
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &engine.address())]).await;
    let task = || fixture.task("web", "sleep 60").option("image", text(&image));

    let rejection = fixture.refused(&task()).await;
    let _trust = Trust::begin(&address, &authority);
    let trusted = task();
    fixture.run(&trusted).await;

    assert!(rejection.message.starts_with(&format!("Failed to pull `{image}`: ")), "{}", rejection.message);
    assert!(rejection.message.contains("certificate signed by unknown authority"), "{}", rejection.message);
    assert_eq!(engine.run(&["inspect", "--format", "{{.Config.Image}}", &trusted.container()]).trim(), image);
    fixture.end().await;
}

/// All text in the regular files below a directory.
fn texts_below(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => texts_below(&entry.path()),
        Ok(kind) if kind.is_file() && !kind.is_socket() => {
            vec![String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()).into_owned()]
        }
        _ => Vec::new(),
    };
    entries.flat_map(of).collect()
}

#[tokio::test]
async fn no_secret_is_in_any_log_event_error_state_or_container() {
    let mut scene = Scene::of(Access::Password).await;
    let soft = |task: Task| task.option("auth_soft_fail", Value::Bool(true));
    let of_task = |password: &str| scene.task().option("auth", auth(USERNAME, password));
    let mut errors = Vec::new();

    errors.push(scene.fixture.refused(&of_task("hunter2-of-the-task")).await);
    scene.entry(&json!({ "auth": STANDARD.encode("sailor:hunter2-of-the-file") }));
    errors.push(scene.fixture.refused(&scene.task()).await);
    scene.entry(&json!({ "identitytoken": "hunter2-of-a-login" }));
    errors.push(scene.fixture.refused(&scene.task()).await);
    scene.entry(&json!({ "registrytoken": "hunter2-of-a-registry" }));
    errors.push(scene.fixture.refused(&scene.task()).await);
    scene.entry(&json!({ "auth": "hunter2 is no base64" }));
    errors.push(scene.fixture.refused(&scene.task()).await);
    scene.config(&json!("hunter2 in a file that is none"));
    errors.push(scene.fixture.refused(&scene.task()).await);
    errors.push(scene.fixture.refused(&soft(scene.task())).await);
    scene.config(&json!({}));
    scene.answer(USERNAME, "hunter2-of-the-helper");
    errors.push(scene.fixture.refused(&scene.task()).await);
    fs::write(scene.files.path().join("answer"), "hunter2 is no JSON").unwrap();
    errors.push(scene.fixture.refused(&scene.task()).await);
    let task = of_task(PASSWORD);
    let started = scene.fixture.run(&task).await;
    let container = docker(&["inspect", &task.container()]);
    let mut events = Vec::new();
    let is_last =
        |event: &TaskEvent| event.task_id == task.config.id && event.message.starts_with("Registry credentials");
    while !events.last().is_some_and(is_last) {
        let event = timeout(*DEADLINE, scene.events.next()).await.expect("the last task's event is missing");
        events.push(event.unwrap().unwrap());
    }
    let log = scene.fixture.log.clone();
    let is_logged = |words: &str| log.lock().unwrap().iter().any(|line| line.contains(words));
    until("the log has the finest lines", || is_logged("asking the registry without credentials")).await;

    let mut reported = vec![container, String::from_utf8_lossy(&started.handle.driver_state).into_owned()];
    reported.extend(errors.iter().map(|error| format!("{error:?}")));
    reported.extend(events.iter().map(|event| format!("{event:?}")));
    reported.extend(texts_below(scene.fixture.directory()));
    scene.fixture.end().await;
    reported.extend(log.lock().unwrap().iter().cloned());
    let sent = scene.sent.lock().unwrap().clone();
    assert_eq!((errors.len(), sent.len()), (9, 6));
    let in_base64 =
        ["sailor:hunter2-of-the-file".to_owned(), format!("{USERNAME}:{PASSWORD}")].map(|login| STANDARD.encode(login));
    let secrets = ["hunter2", PASSWORD].map(str::to_owned).into_iter().chain(in_base64).chain(sent);
    for secret in secrets {
        let shown: Vec<_> = reported.iter().filter(|text| text.contains(&secret)).collect();
        assert!(shown.is_empty(), "{secret} is in {shown:?}");
    }
}
