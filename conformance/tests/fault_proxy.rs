//! The proxy that makes faults: what its client sees of each, and what the engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, time::Duration};

use conformance::{
    DEADLINE, LABEL,
    fault_proxy::{Answer, Call, Fault, FaultProxy, Plan},
    image,
};
use hyper::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, timeout},
};

const ENGINE: &str = "/var/run/docker.sock";
/// Longer than the engine takes for anything here, and shorter than what trickles.
const PATIENCE: Duration = Duration::from_secs(3);

fn proxy(method: &Method, path: &str, fault: Fault) -> FaultProxy {
    let plan = Plan { phase: "test", call: Call::of(method, path), occurrence: 1, fault };
    let proxy = FaultProxy::before(Path::new(ENGINE), Some(plan));
    proxy.enter("test");
    proxy
}

/// Sends a request. What came of the answer, and whether it ended within a time.
async fn answer(proxy: &FaultProxy, request: &str, patience: Duration) -> (String, bool) {
    let mut stream = UnixStream::connect(proxy.address().trim_start_matches("unix://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    let ended = timeout(patience, async {
        // An end with unread bytes is an error, and an end.
        while let Ok(1..) = stream.read_buf(&mut came).await {}
    });
    let ended = ended.await.is_ok();
    (String::from_utf8_lossy(&came).into_owned(), ended)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
}

fn create() -> String {
    let body = format!(r#"{{"Image":"{}","Labels":{{"{LABEL}":"proxy"}}}}"#, image());
    let length = body.len();
    format!(
        "POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

async fn removed(proxy: &FaultProxy) -> usize {
    let made = proxy.made();
    for made in &made {
        let (status, _) = proxy.ask(Method::DELETE, &format!("/containers/{}", made.id)).await.unwrap();
        assert_eq!(status, 204);
    }
    made.len()
}

#[tokio::test]
async fn each_fault_is_seen_by_the_client_and_has_or_has_not_its_effect() {
    // The status, whether the answer ended, whether a container was made.
    let expected = [
        (Fault::Refuse, "", true, 0),
        (Fault::ErrorBefore, "500", true, 0),
        (Fault::ErrorAfter, "500", true, 1),
        (Fault::CutAfter, "", true, 1),
        (Fault::CutMidst, "201", true, 1),
        (Fault::HangBefore, "", false, 0),
        (Fault::HangAfter, "", false, 1),
        (Fault::Mute, "201", false, 1),
        (Fault::Trickle, "201", false, 1),
        (Fault::Garble, "200", true, 1),
    ];

    for (fault, status, ends, made) in expected {
        let proxy = proxy(&Method::POST, "/containers/create", fault);
        let (came, ended) = answer(&proxy, &create(), PATIENCE).await;
        let seen = (came.split(' ').nth(1).unwrap_or_default(), ended, removed(&proxy).await);

        assert_eq!(seen, (status, ends, made), "{fault}: {came}");
        assert!(proxy.has_made_its_fault(), "{fault}");
        let is_whole = came.rsplit("\r\n").next().is_some_and(|body| {
            serde_json::from_str::<serde_json::Value>(body).is_ok_and(|body| body.get("Id").is_some())
        });
        assert!(!is_whole, "{fault}: {came}");
    }
    assert_eq!(expected.map(|(fault, ..)| fault), Fault::ALL);
}

#[tokio::test]
async fn what_has_no_fault_passes_as_it_is_and_is_noted_by_phase_and_occurrence() {
    let proxy = proxy(&Method::GET, "/_ping", Fault::Refuse);
    let ask = async |path: &str| answer(&proxy, &get(path), *DEADLINE).await.0;

    let refused = ask("/_ping").await;
    let second = ask("/v1.41/_ping").await;
    proxy.enter("later");
    let third = ask("/_ping").await;
    let missing = ask("/v1.41/containers/none/json").await;
    let noted: Vec<_> = proxy
        .journal()
        .iter()
        .map(|noted| (noted.phase, noted.call.to_string(), noted.occurrence, noted.answer))
        .collect();

    assert_eq!(refused, "");
    assert!(second.starts_with("HTTP/1.1 200") && second.ends_with("OK"), "{second}");
    assert!(third.ends_with("OK"), "{third}");
    assert!(missing.starts_with("HTTP/1.1 404") && missing.contains("No such container"), "{missing}");
    let (ping, inspect) = ("GET /_ping".to_owned(), "GET /containers/ID/json".to_owned());
    let expected = [
        ("test", ping.clone(), 1, None),
        ("test", ping.clone(), 2, Some(Answer::Body)),
        ("later", ping, 1, Some(Answer::Body)),
        ("later", inspect, 1, Some(Answer::Body)),
    ];
    assert_eq!(noted, expected);
}

#[tokio::test]
async fn a_stream_is_passed_on_while_it_runs_and_a_mute_one_has_a_head_alone() {
    let events = "/v1.41/events?since=0";
    let passing = FaultProxy::before(Path::new(ENGINE), None);
    let mute = proxy(&Method::GET, "/events", Fault::Mute);
    // Something that the engine reports.
    answer(&passing, &create(), *DEADLINE).await;
    removed(&passing).await;

    let (seen, seen_ended) = answer(&passing, &get(events), PATIENCE).await;
    let (head, head_ended) = answer(&mute, &get(events), PATIENCE).await;

    assert!(seen.contains("\"destroy\"") && !seen_ended, "{seen}");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n") && !head_ended, "{head}");
}

#[tokio::test]
async fn bytes_that_trickle_come_one_by_one() {
    let proxy = proxy(&Method::GET, "/_ping", Fault::Trickle);
    let begin = Instant::now();

    let (came, ended) = answer(&proxy, &get("/_ping"), *DEADLINE).await;

    assert!(came.ends_with("OK") && ended, "{came}");
    assert!(begin.elapsed() >= Duration::from_millis(100), "{:?}", begin.elapsed());
}
