use std::{cell::Cell, time::SystemTime};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use engine::{ContainerWatch, Endpoint};

/// The beginning of the answer to a subscription.
const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The next request, by its path without the API's version.
async fn request(listener: &TcpListener) -> (TcpStream, String) {
    let mut stream = listener.accept().await.unwrap().0;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().split('?').next().unwrap();
    let path = path.strip_prefix("/v1.41").unwrap_or(path);
    (stream, path.to_owned())
}

async fn answer(mut stream: TcpStream, body: &str) {
    let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// An engine that a test answers for, and a watch of its container `c1`.
async fn watching() -> (TcpListener, Engine, ContainerWatch, WatchHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let engine = Engine::new(Endpoint { address, tls: None });
    let watch = ContainerWatch::new(engine.clone());
    let handle = watch.watch("c1");
    (listener, engine, watch, handle)
}

/// Watches `c1`, of which the kernel kills a process each time that it is watched; to be notified of it panics. `states` are
/// the engine's answers to the questions how it is.
async fn watched_with_panics(panics: usize, states: &[&str]) -> Exit {
    let (listener, engine, _watch, handle) = watching().await;
    let (reported, all) = (Cell::new(0), states.len());
    let (networks, ending) = (Connections::default(), AtomicBool::new(false));
    let watching = watch(&engine, "c1", &handle, &networks, &ending, |_| {
        reported.set(reported.get() + 1);
        assert!(reported.get() > panics, "notified for the {}. time", reported.get());
    });
    let engines_side = async {
        let (mut events, mut states) = (None, states.iter());
        loop {
            let (mut stream, path) = request(&listener).await;
            match path.as_str() {
                "/version" => answer(stream, r#"{"ApiVersion":"1.41"}"#).await,
                "/_ping" => answer(stream, "OK").await,
                "/events" => {
                    stream.write_all(EVENTS).await.unwrap();
                    events = Some(stream);
                }
                "/containers/c1/json" => {
                    answer(stream, &format!(r#"{{"Id":"c1","State":{}}}"#, states.next().unwrap())).await;
                }
                other => panic!("{other} is asked for"),
            }
            let asked = all - states.len();
            if let Some(events) = &mut events
                && (reported.get() + 1..all).contains(&asked)
            {
                let killed = r#"{"Type":"container","Action":"oom","Actor":{"ID":"c1"}}"#;
                let chunk = format!("{:x}\r\n{killed}\n\r\n", killed.len() + 1);
                events.write_all(chunk.as_bytes()).await.unwrap();
                while reported.get() < asked {
                    tokio::task::yield_now().await;
                }
                tokio::time::pause();
                tokio::time::advance(steps::RECONNECTION).await;
                tokio::time::resume();
            }
        }
    };
    tokio::select! {
        exit = watching => exit,
        () = engines_side => unreachable!("it continues for ever"),
    }
}

/// Watches `c1`, which has been killed when the engine is first asked, and of which the engine says only then what the
/// kernel did.
async fn killed(ending: bool) -> Exit {
    let (listener, engine, _watch, handle) = watching().await;
    let (networks, ending) = (Connections::default(), AtomicBool::new(ending));
    let watching = watch(&engine, "c1", &handle, &networks, &ending, |_| {});
    let engines_side = async {
        let (mut events, mut asked) = (None, false);
        loop {
            let (mut stream, path) = request(&listener).await;
            match path.as_str() {
                "/version" => answer(stream, r#"{"ApiVersion":"1.41"}"#).await,
                "/_ping" => answer(stream, "OK").await,
                "/events" => {
                    stream.write_all(EVENTS).await.unwrap();
                    events = Some(stream);
                }
                "/containers/c1/json" => {
                    answer(stream, r#"{"Id":"c1","State":{"Running":false,"ExitCode":137}}"#).await;
                    asked = true;
                }
                other => panic!("{other} is asked for"),
            }
            if asked && let Some(mut events) = events.take() {
                let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
                let killed = format!(r#"{{"Type":"container","Action":"oom","Actor":{{"ID":"c1"}},"timeNano":{at}}}"#);
                events.write_all(format!("{:x}\r\n{killed}\n\r\n", killed.len() + 1).as_bytes()).await.unwrap();
            }
        }
    };
    tokio::select! {
        exit = watching => exit,
        () = engines_side => unreachable!("it continues for ever"),
    }
}

#[tokio::test]
async fn what_the_kernel_did_is_waited_for_unless_the_kill_is_our_own() {
    let (by_the_kernel, ours) = (killed(false).await.result, killed(true).await.result);

    assert_eq!((by_the_kernel.result.oom_killed, by_the_kernel.error.as_str()), (true, "OOM Killed"));
    assert_eq!((ours.result.exit_code, ours.result.oom_killed), (137, false));
}

const RUNS: &str = r#"{"Running":true}"#;
const ENDED: &str = r#"{"Running":false,"ExitCode":3}"#;

#[tokio::test]
async fn a_panic_of_a_tasks_watcher_is_no_end_of_the_task_and_the_end_is_reported() {
    let exit = watched_with_panics(1, &[RUNS, ENDED]).await;

    assert_eq!(exit.result.result.exit_code, 3);
    assert_eq!(exit.result.error, "Docker container exited with non-zero exit code: 3");
}

#[tokio::test]
async fn a_watcher_that_panics_each_time_reports_the_end_without_reading_how() {
    let exit = watched_with_panics(usize::MAX, &[RUNS, RUNS, ENDED]).await;

    assert_eq!(exit.result.result.exit_code, 3);
    assert_eq!(exit.result.error, "the driver failed while it read how the task ended");
}
