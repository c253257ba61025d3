use std::{cell::Cell, sync::atomic::AtomicBool};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    engine::Endpoint,
    task::{
        connections::Connections,
        watch_exit::{self, Exit},
    },
};

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

/// Answers until the subscription is asked for, which is returned open.
async fn subscribed(listener: &TcpListener) -> TcpStream {
    loop {
        let (mut stream, path) = request(listener).await;
        match path.as_str() {
            "/version" => answer(stream, r#"{"ApiVersion":"1.41"}"#).await,
            "/_ping" => answer(stream, "OK").await,
            "/events" => {
                stream.write_all(EVENTS).await.unwrap();
                return stream;
            }
            other => panic!("{other} is asked for"),
        }
    }
}

/// Lets the time come at which the engine is asked what runs, and answers.
async fn look(listener: &TcpListener, running: &str) {
    tokio::time::pause();
    tokio::time::advance(LOOK).await;
    tokio::time::resume();
    let (stream, path) = request(listener).await;
    assert_eq!(path, "/containers/json");
    answer(stream, running).await;
}

#[tokio::test]
async fn a_subscription_that_does_not_tell_of_an_end_is_begun_anew_and_wakes_all() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let exits = Exits::new(Engine::new(Endpoint { address, tls: None }));
    let (first, second) = (exits.watch("c1"), exits.watch("c2"));
    let woken = Heard { maybe_ended: true, ..Heard::default() };

    let _silent = subscribed(&listener).await;
    let begun = (first.heard().await, second.heard().await);
    look(&listener, r#"[{"Id":"c1"},{"Id":"c2"},{"Id":"other"}]"#).await;
    look(&listener, r#"[{"Id":"c2"}]"#).await;
    let _next = subscribed(&listener).await;

    assert_eq!(begun, (woken, woken));
    assert_eq!((first.heard().await, second.heard().await), (woken, woken));
}

#[tokio::test]
async fn a_subscription_that_told_of_an_end_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let exits = Exits::new(Engine::new(Endpoint { address, tls: None }));
    let signal = exits.watch("c1");
    let mut events = subscribed(&listener).await;
    signal.heard().await;

    let died = r#"{"Type":"container","Action":"die","Actor":{"ID":"c1"}}"#;
    events.write_all(format!("{:x}\r\n{died}\n\r\n", died.len() + 1).as_bytes()).await.unwrap();
    let told = signal.heard().await;
    look(&listener, "[]").await;
    // Were it begun anew, this would not be the next thing that is asked for.
    look(&listener, "[]").await;

    assert!(told.maybe_ended);
}

/// An engine that a test answers for, and a watch of its container `c1`.
async fn watching() -> (TcpListener, Engine, Exits, ExitSignal) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let engine = Engine::new(Endpoint { address, tls: None });
    let exits = Exits::new(engine.clone());
    let signal = exits.watch("c1");
    (listener, engine, exits, signal)
}

/// Watches `c1`, of which the kernel kills a process each time that it is watched; to be told of it panics. `states` are
/// the engine's answers to the questions how it is.
async fn watched_with_panics(panics: usize, states: &[&str]) -> Exit {
    let (listener, engine, _exits, signal) = watching().await;
    let (told, all) = (Cell::new(0), states.len());
    let (networks, ending) = (Connections::default(), AtomicBool::new(false));
    let watching = watch_exit::watch(&engine, "c1", &signal, &networks, &ending, |_| {
        told.set(told.get() + 1);
        assert!(told.get() > panics, "told for the {}. time", told.get());
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
                && (told.get() + 1..all).contains(&asked)
            {
                let killed = r#"{"Type":"container","Action":"oom","Actor":{"ID":"c1"}}"#;
                let chunk = format!("{:x}\r\n{killed}\n\r\n", killed.len() + 1);
                events.write_all(chunk.as_bytes()).await.unwrap();
                while told.get() < asked {
                    tokio::task::yield_now().await;
                }
                tokio::time::pause();
                tokio::time::advance(LOOK / 6).await;
                tokio::time::resume();
            }
        }
    };
    tokio::select! {
        exit = watching => exit,
        () = engines_side => unreachable!("it goes on for ever"),
    }
}

#[tokio::test]
async fn each_watcher_of_a_container_is_woken_and_one_that_leaves_takes_no_other_with_it() {
    let exits = Exits::new(Engine::new(Endpoint { address: "unix:///nowhere".to_owned(), tls: None }));
    let (first, second, third) = (exits.watch("c1"), exits.watch("c1"), exits.watch("c1"));
    let died =
        ContainerEvent { container: "c1".to_owned(), kind: ContainerEventKind::Died, at: SystemTime::UNIX_EPOCH };

    drop(second);
    wake(&exits.watched, &died);

    assert!(first.heard().await.maybe_ended && third.heard().await.maybe_ended);
    drop((first, third));
    assert!(lock(&exits.watched).is_empty());
}

/// Watches `c1`, which has been killed when the engine is first asked, and of which the engine says only then what the
/// kernel did.
async fn killed(ending: bool) -> Exit {
    let (listener, engine, _exits, signal) = watching().await;
    let (networks, ending) = (Connections::default(), AtomicBool::new(ending));
    let watching = watch_exit::watch(&engine, "c1", &signal, &networks, &ending, |_| {});
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
        () = engines_side => unreachable!("it goes on for ever"),
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
async fn a_panic_of_a_tasks_watcher_is_no_end_of_the_task_and_the_end_is_told() {
    let exit = watched_with_panics(1, &[RUNS, ENDED]).await;

    assert_eq!(exit.result.result.exit_code, 3);
    assert_eq!(exit.result.error, "Docker container exited with non-zero exit code: 3");
}

#[tokio::test]
async fn a_watcher_that_panics_each_time_tells_of_the_end_without_reading_how() {
    let exit = watched_with_panics(usize::MAX, &[RUNS, RUNS, ENDED]).await;

    assert_eq!(exit.result.result.exit_code, 3);
    assert_eq!(exit.result.error, "the driver failed while it read how the task ended");
}
