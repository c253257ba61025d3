//! Concurrent pulls, against an engine that is faked at its socket.

use std::{collections::HashMap, path::Path, time::Duration};

use futures_util::{StreamExt, future::join_all};
use nomad_plugin::driver::TaskEvent;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::*;
use crate::config::PluginAuth;
use background::Background;
use engine::Endpoint;

const DEADLINE: Duration = Duration::from_secs(20);

/// The requests that a fake engine received, and whether it may answer pulls.
#[derive(Clone, Debug, Default)]
struct Fake {
    /// The credentials of each pull, in order of arrival.
    pulls: Vec<Option<String>>,
    /// Pulls whose caller disconnected.
    hung_up: usize,
    /// Whether pulls are answered.
    released: bool,
}

type State = watch::Sender<Fake>;

/// An engine that has no image until its pulls are released.
fn fake(directory: &Path) -> (Engine, State, Background) {
    let socket = directory.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let state = watch::channel(Fake::default()).0;
    let serving = state.clone();
    let background = Background::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            #[expect(clippy::disallowed_methods, reason = "the set ends with the server")]
            connections.spawn(answer(stream, serving.clone()));
        }
    });
    (Engine::new(Endpoint { address: format!("unix://{}", socket.display()), tls: None }), state, background)
}

/// Answers one request; none of them has a body.
async fn answer(mut stream: UnixStream, state: State) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let headers: HashMap<String, &str> = request
        .lines()
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)))
        .collect();
    let path = request.split(' ').nth(1).unwrap();
    let (status, body) = if path.ends_with("/version") {
        ("200 OK", r#"{ "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24" }"#)
    } else if path.contains("/images/create?") {
        let auth = headers.get("x-registry-auth").map(|auth| (*auth).to_owned());
        state.send_modify(|fake| fake.pulls.push(auth));
        let mut watched = state.subscribe();
        let mut hung_up = [0];
        tokio::select! {
            released = watched.wait_for(|fake| fake.released) => drop(released),
            _ = stream.read(&mut hung_up) => {
                state.send_modify(|fake| fake.hung_up += 1);
                return;
            }
        }
        ("200 OK", "{\"status\":\"Pulling from app\",\"id\":\"1\"}\r\n")
    } else if path.contains("/images/json?") {
        ("200 OK", "[]")
    } else if state.borrow().released {
        ("200 OK", r#"{ "Id": "sha256:abc" }"#)
    } else {
        ("404 Not Found", r#"{ "message": "No such image" }"#)
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).await.unwrap();
}

fn request(task: usize, password: Option<&str>) -> ImageRequest {
    let owner = EventSubject { task_id: format!("task-{task}").into(), ..EventSubject::default() };
    let auth = |password: &str| Auth { username: "u".into(), password: password.into(), ..Auth::default() };
    ImageRequest {
        image: ImageReference::parse("registry.test/app:1").unwrap(),
        freshness: Freshness::Local,
        archive: None,
        auth: password.map(auth),
        plugin_auth: PluginAuth::default(),
        auth_soft_fail: false,
        verify_access: false,
        reserved: Reserved::No,
        load_max: None,
        limits: Limits { whole: DEADLINE, silence: DEADLINE },
        puller: Puller::Job("job".to_owned()),
        owner: Some(owner),
    }
}

/// Ensures the image of each request concurrently; pulls are answered only when every request is waiting for one.
async fn ensure_all(requests: &[ImageRequest]) -> (Vec<Result<LocalImage, DriverError>>, Fake) {
    let directory = tempfile::tempdir().unwrap();
    let (engine, state, _serving) = fake(directory.path());
    let events = TaskEvents::default();
    let is_begun = |event: &TaskEvent| std::future::ready(event.message == "Downloading image");
    let reported = events.subscribe().filter(is_begun).take(requests.len());
    let images = Images::new(engine, events);
    let release = async {
        reported.for_each(|_| std::future::ready(())).await;
        state.send_modify(|fake| fake.released = true);
    };
    let all = join_all(requests.iter().map(|request| images.ensure(request)));
    let ((), results) = timeout(DEADLINE, async { tokio::join!(release, all) }).await.unwrap();
    let asked = state.borrow().clone();
    (results, asked)
}

#[tokio::test]
async fn ten_tasks_wait_for_one_pull() {
    let requests: Vec<_> = (0..10).map(|task| request(task, None)).collect();

    let (results, asked) = ensure_all(&requests).await;

    for result in results {
        let LocalImage { id, name, .. } = result.unwrap();
        assert_eq!((id.as_str(), name.as_str()), ("sha256:abc", "registry.test/app:1"));
    }
    assert_eq!(asked.pulls, [None]);
}

#[tokio::test]
async fn nobody_gets_an_image_by_the_credentials_of_another() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE};
    let requests: Vec<_> = (0..6).map(|task| request(task, [None, Some("one"), Some("two")][task % 3])).collect();

    let (results, asked) = ensure_all(&requests).await;

    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let decoded = |auth: Option<String>| {
        let auth: serde_json::Value = serde_json::from_slice(&URL_SAFE.decode(auth?).unwrap()).unwrap();
        Some((auth["username"].clone(), auth["password"].clone()))
    };
    let mut pulls: Vec<_> = asked.pulls.into_iter().map(decoded).collect();
    pulls.sort_by_key(|pull| format!("{pull:?}"));
    let with = |password: &str| Some(("u".into(), password.into()));
    assert_eq!(pulls, [None, with("one"), with("two")]);
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_any_more_is_ended_and_another_begins_again() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, state, _serving) = fake(directory.path());
    let images = Images::new(engine, TaskEvents::default());
    let mut watched = state.subscribe();

    for life in 1..=2 {
        let wanted = request(0, None);
        tokio::select! {
            _ = images.ensure(&wanted) => panic!("pulls are not answered"),
            seen = timeout(DEADLINE, watched.wait_for(|fake| fake.pulls.len() == life)) => drop(seen.unwrap().unwrap()),
        }
        timeout(DEADLINE, watched.wait_for(|fake| fake.hung_up == life)).await.unwrap().unwrap();
    }
}
