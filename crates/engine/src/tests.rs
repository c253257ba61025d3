//! Every verb against an engine that records its requests, one that fails, and one whose answers never end.

mod endless;
mod faults;
mod names;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use fake_engine::{FakeEngine, Reply};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::Instant,
};

use super::*;
use background::Background;

const DEADLINE: Duration = Duration::from_secs(60);

/// Listens on an engine's socket in a directory.
fn listen(directory: &Path) -> (UnixListener, Engine) {
    let socket = directory.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    (listener, Engine::new(Endpoint { address: format!("unix://{}", socket.display()), tls: None }))
}

/// Reads the head of a request.
async fn head(stream: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or_default() == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const VERSION: &str = r#"{"Version":"20.10","ApiVersion":"1.41"}"#;

/// The next connection whose request head was read; `None` if the listener fails.
async fn asked(listener: &UnixListener) -> Option<UnixStream> {
    let (mut stream, _) = listener.accept().await.ok()?;
    head(&mut stream).await;
    Some(stream)
}

/// Answers the next request with the version.
async fn say_version(listener: &UnixListener) {
    let mut stream = asked(listener).await.unwrap();
    stream.write_all(whole("200 OK", VERSION).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_not_there_cannot_be_connected_to() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, deserted) = listen(directory.path());
    drop(listener);
    let at = |address: String| Engine::new(Endpoint { address, tls: None });
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let missing = at(format!("unix://{}/none.sock", directory.path().display()));
    let refusing = at(format!("tcp://{free}"));

    for (engine, reason) in
        [(missing, "no such socket: "), (deserted, "Connection refused"), (refusing, "Connection refused")]
    {
        let error = engine.answers().await.unwrap_err();
        let EngineError::Unreachable { reason: said, .. } = &error else { panic!("{error:?}") };
        assert!(said.starts_with(reason) && error.is_transient(), "{error}");
        assert!(error.to_string().starts_with("cannot connect to the Docker daemon at "), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_share_one_negotiation_and_a_lost_answer_to_it_costs_seconds() {
    let fake = FakeEngine::start();
    fake.on("GET /version").once(Reply::hang());
    let engine = Engine::new(Endpoint { address: fake.address(), tls: None });
    let begun = Instant::now();

    let answers = join_all((0..50).map(|_| engine.running_containers())).await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(fake.requests("GET /version").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_for_the_negotiation_than_for_its_answer() {
    let fake = FakeEngine::start();
    fake.on("GET /version").always(Reply::hang());
    let engine = Engine::new(Endpoint { address: fake.address(), tls: None });
    let begun = Instant::now();

    let failed = engine.answers().await;
    let took = begun.elapsed();
    fake.on("GET /version").usual();
    let answered = engine.answers().await;

    assert_eq!((failed, answered), (Err(EngineError::Deadline(ALIVE)), Ok(())));
    assert!((ALIVE..ALIVE + Duration::from_secs(1)).contains(&took), "{took:?}");
}
