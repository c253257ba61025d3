//! Tests the engine with a plain client: tests of the driver rely on its responses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fake_engine::{FakeEngine, Image, OnSignal, Reply, State};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::Instant,
};

/// Sends a request on a connection of its own, and returns everything received until the connection closes.
async fn send(engine: &FakeEngine, method: &str, path: &str, body: &str) -> String {
    let socket = engine.address().trim_start_matches("unix://").to_owned();
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _broken = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// The status, and the body if it is JSON.
async fn call(engine: &FakeEngine, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = send(engine, method, path, body).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

fn with_container() -> (FakeEngine, String) {
    let engine = FakeEngine::start();
    engine.add_image(Image::named("busybox:1"));
    let id = engine.create("web", json!({ "Image": "busybox:1", "Labels": { "a": "b" } }));
    (engine, id)
}

#[tokio::test]
async fn odd_requests_are_answered_as_an_engine_does() {
    let engine = FakeEngine::start();
    let no_page = (404, json!({ "message": "page not found" }));

    for (method, path) in
        [("GET", "/"), ("PUT", "/v1.41/containers/c1"), ("GET", "/vx/info"), ("POST", "/images/"), ("GET", "/swarm")]
    {
        assert_eq!(call(&engine, method, path, "").await, no_page, "{method} {path}");
    }
    assert_eq!(call(&engine, "GET", "/containers//json", "").await.0, 404);
    assert_eq!(call(&engine, "POST", "/v1.41/containers/create?name=%ff", "{{{").await.0, 404);
    assert_eq!(call(&engine, "GET", "/containers/json?filters=%7B", "").await, (200, json!([])));
    assert!(send(&engine, "BREW", "/x\0", "").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_container_lives_as_its_calls_say() {
    let (engine, id) = with_container();
    let path = format!("/v1.41/containers/{id}");
    let state = async || call(&engine, "GET", &format!("{path}/json"), "").await.1["State"]["Status"].clone();

    assert_eq!(state().await, "created");
    assert_eq!(call(&engine, "POST", &format!("{path}/start"), "").await.0, 204);
    assert_eq!(call(&engine, "POST", &format!("{path}/start"), "").await.0, 304);
    assert_eq!(state().await, "running");
    assert_eq!(call(&engine, "DELETE", &path, "").await.0, 409);
    assert_eq!(call(&engine, "POST", &format!("{path}/kill?signal=SIGTERM"), "").await.0, 204);
    assert_eq!(engine.container("web").unwrap().state, State::Exited { code: 143, oom_killed: false });
    assert_eq!(call(&engine, "POST", &format!("{path}/kill?signal=SIGTERM"), "").await.0, 409);
    assert_eq!(call(&engine, "DELETE", &path, "").await.0, 204);
    assert_eq!(call(&engine, "GET", &format!("{path}/json"), "").await.0, 404);
    let actions: Vec<String> = engine.events().into_iter().map(|event| event.action).collect();
    assert_eq!(actions, ["create", "start", "kill", "die", "disconnect", "destroy"]);
}

#[tokio::test]
async fn a_name_is_one_containers_alone() {
    let (engine, id) = with_container();

    let (status, said) = call(&engine, "POST", "/containers/create?name=web", r#"{"Image":"busybox:1"}"#).await;

    assert_eq!(status, 409);
    assert!(said["message"].as_str().unwrap().contains(&id), "{said}");
    assert_eq!(call(&engine, "POST", "/containers/create?name=other", r#"{"Image":"none"}"#).await.0, 404);
}

#[tokio::test]
async fn a_script_breaks_answers_in_each_way_and_then_the_usual_is_back() {
    let (engine, id) = with_container();
    let start = format!("/containers/{id}/start");
    let on = || engine.on("POST /containers/*/start");
    on().once(Reply::error(500, "no"));
    on().once(Reply::drop_connection());
    on().once(Reply::lose_answer());

    assert_eq!(call(&engine, "POST", &start, "").await, (500, json!({ "message": "no" })));
    assert_eq!(send(&engine, "POST", &start, "").await, "");
    assert_eq!(engine.container("web").unwrap().state, State::Created);
    assert_eq!(send(&engine, "POST", &start, "").await, "");
    assert_eq!(engine.container("web").unwrap().state, State::Running);
    assert_eq!(call(&engine, "POST", &start, "").await.0, 304);
    engine.on("GET /info").once(Reply::cut_body());
    let cut = send(&engine, "GET", "/info", "").await;
    assert!(
        cut.starts_with("HTTP/1.1 200 OK")
            && serde_json::from_str::<Value>(cut.split_once("\r\n\r\n").unwrap().1).is_err()
    );
    assert_eq!(engine.requests("POST /containers/*/start").len(), 4);
}

#[tokio::test]
async fn an_engine_that_is_stopped_breaks_connections_and_knows_all_when_it_is_back() {
    let (engine, _) = with_container();
    engine.on("GET /info").always(Reply::hang());
    let hanging = engine.clone();
    let hanging = async move { send(&hanging, "GET", "/info", "").await };
    let stopping = async {
        engine.asked("GET /info").await;
        engine.stop();
    };

    let (answer, ()) = tokio::join!(hanging, stopping);

    assert_eq!(answer, "");
    assert!(UnixStream::connect(engine.address().trim_start_matches("unix://")).await.is_err());
    engine.serve();
    assert_eq!(call(&engine, "GET", "/containers/web/json", "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_passes_at_once_and_leaves_time_to_threads() {
    let (engine, id) = with_container();
    engine.run(&id);
    engine.change(&id, |container| container.on_signal = OnSignal::Ignore);
    let began = Instant::now();
    let (done, of_thread) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        // Some milliseconds of work.
        let file = tempfile::NamedTempFile::new().unwrap();
        for _ in 0..100 {
            std::fs::write(file.path(), vec![0; 64 << 10]).unwrap();
        }
        done.send(())
    });

    let in_time = tokio::time::timeout(Duration::from_secs(5), of_thread).await;
    let (status, _) = call(&engine, "POST", &format!("/containers/{id}/stop?t=300"), "").await;

    assert_eq!(in_time.unwrap(), Ok(()));
    assert_eq!(status, 204);
    assert_eq!(engine.container(&id).unwrap().state, State::Exited { code: 137, oom_killed: false });
    assert!((300..310).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn events_are_repeated_from_a_time_on_and_filtered() {
    let (engine, id) = with_container();
    engine.run(&id);
    let socket = engine.address().trim_start_matches("unix://").to_owned();
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let filters = "%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22start%22%2C%22die%22%5D%7D";
    stream
        .write_all(format!("GET /events?since=0.0&filters={filters} HTTP/1.1\r\nHost: d\r\n\r\n").as_bytes())
        .await
        .unwrap();
    engine.asked("GET /events").await;

    engine.exit(&id, 3);

    let mut said = String::new();
    while !said.contains("\"die\"") {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    assert!(said.contains("\"Action\":\"start\"") && said.contains("\"exitCode\":\"3\""), "{said}");
    assert!(!said.contains("\"create\"") && !said.contains("disconnect"), "{said}");
}
