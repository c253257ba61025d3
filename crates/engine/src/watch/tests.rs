use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::Endpoint;

/// The start of the answer to a subscription.
const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The next request, by its path without the API version.
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

/// Answers requests until the subscription arrives, and returns it open.
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

/// Advances the time until the engine is asked for its running containers, and answers.
async fn look(listener: &TcpListener, running: &str) {
    tokio::time::pause();
    tokio::time::advance(LOOK).await;
    tokio::time::resume();
    let (stream, path) = request(listener).await;
    assert_eq!(path, "/containers/json");
    answer(stream, running).await;
}

#[tokio::test]
async fn a_subscription_that_misses_an_end_is_replaced_and_wakes_all() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let watch = ContainerWatch::new(Engine::new(Endpoint { address, tls: None }));
    let (first, second) = (watch.watch("c1"), watch.watch("c2"));
    let woken = Pending { may_have_ended: true, ..Pending::default() };

    let _silent = subscribed(&listener).await;
    let begun = (first.notified().await, second.notified().await);
    look(&listener, r#"[{"Id":"c1"},{"Id":"c2"},{"Id":"other"}]"#).await;
    look(&listener, r#"[{"Id":"c2"}]"#).await;
    let _next = subscribed(&listener).await;

    assert_eq!(begun, (woken, woken));
    assert_eq!((first.notified().await, second.notified().await), (woken, woken));
}

#[tokio::test]
async fn a_subscription_that_reported_an_end_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let watch = ContainerWatch::new(Engine::new(Endpoint { address, tls: None }));
    let handle = watch.watch("c1");
    let mut events = subscribed(&listener).await;
    handle.notified().await;

    let died = r#"{"Type":"container","Action":"die","Actor":{"ID":"c1"}}"#;
    events.write_all(format!("{:x}\r\n{died}\n\r\n", died.len() + 1).as_bytes()).await.unwrap();
    let notified = handle.notified().await;
    look(&listener, "[]").await;
    // If the subscription were replaced, that would be the next request.
    look(&listener, "[]").await;

    assert!(notified.may_have_ended);
}

#[tokio::test]
async fn each_subscriber_of_a_container_is_notified_and_one_that_leaves_takes_no_other_with_it() {
    let watch = ContainerWatch::new(Engine::new(Endpoint { address: "unix:///nowhere".to_owned(), tls: None }));
    let (first, second, third) = (watch.watch("c1"), watch.watch("c1"), watch.watch("c1"));
    let died =
        ContainerEvent { container: "c1".to_owned(), kind: ContainerEventKind::Died, at: SystemTime::UNIX_EPOCH };

    drop(second);
    wake(&watch.subscribers, &died);

    assert!(first.notified().await.may_have_ended && third.notified().await.may_have_ended);
    drop((first, third));
    assert!(lock(&watch.subscribers).is_empty());
}
