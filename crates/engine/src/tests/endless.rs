//! An endless response of the engine costs no more than the bound of its kind.

use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use request::{ContainerCreateBody, EndpointSettings};

use super::*;

/// What is endless in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endless {
    /// Informational heads.
    Informational,
    /// Headers.
    Headers,
    /// One header.
    Header,
    /// A JSON string that does not end.
    Text,
    /// A JSON string in small chunks.
    Chunks,
    /// An error's text.
    Error,
    /// Whitespace.
    Blanks,
}

impl Endless {
    fn begin(self) -> &'static str {
        const OK: &str = "HTTP/1.1 200 OK\r\n";
        match self {
            Self::Informational => "",
            Self::Headers => OK,
            Self::Header => "HTTP/1.1 200 OK\r\nx: ",
            Self::Text => "HTTP/1.1 200 OK\r\n\r\n{\"message\":\"",
            Self::Chunks => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\"\r\n",
            Self::Error => "HTTP/1.1 403 No\r\n\r\n{\"message\":\"denied",
            Self::Blanks => "HTTP/1.1 200 OK\r\n\r\n",
        }
    }

    fn go_on(self) -> String {
        let piece = match self {
            Self::Informational => "HTTP/1.1 102 Wait\r\n\r\n",
            Self::Headers => "x: y\r\n",
            Self::Header | Self::Text | Self::Error => "xxxxxxxxxxxxxxxx",
            Self::Chunks => "40\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
            Self::Blanks => "                ",
        };
        piece.repeat(8 << 10)
    }
}

type EngineCall = fn(Engine) -> BoxFuture<'static, Result<(), EngineError>>;

macro_rules! verbs {
    ($($name:literal => |$engine:ident| $call:expr;)*) => {
        [$(($name, { let call: EngineCall = |$engine| async move { $call }.boxed(); call })),*]
    };
}

fn verbs() -> Vec<(&'static str, EngineCall)> {
    verbs! {
        "create" => |engine| engine.create_container("c", ContainerCreateBody::default()).await.map(drop);
        "inspect" => |engine| engine.inspect_container("c").await.map(drop);
        "exec" => |engine| engine.create_exec("c", Vec::new(), false, ExecTerminal::No).await.map(drop);
        "inspect exec" => |engine| engine.inspect_exec("e").await.map(drop);
        "network" => |engine| engine.inspect_network("n").await.map(drop);
        "info" => |engine| engine.ask_facts().await.map(drop);
        "version" => |engine| engine.version().await.map(drop);
        "pull" => |engine| engine.pull_image("app", "1", None).next().await.unwrap().map(drop);
        "load" => |engine| engine.load_images("a", stream::empty(), drop).await;
        "logs" => |engine| engine.container_logs("c", 0).try_for_each(|_| std::future::ready(Ok(()))).await;
    }
    .to_vec()
}

/// The calls whose bodies are not read, except for an error's.
fn heads() -> Vec<(&'static str, EngineCall)> {
    verbs! {
        "start" => |engine| engine.start_container("c").await;
        "stop" => |engine| engine.stop_container("c", Duration::ZERO).await;
        "kill" => |engine| engine.kill_container("c", "KILL").await;
        "remove" => |engine| engine.remove_container("c").await;
        "resize" => |engine| engine.resize_exec("e", 1, 1).await;
        "connect" => |engine| engine.connect_network("n", "c", EndpointSettings::default()).await;
        "remove image" => |engine| engine.remove_image("app").await;
        "tag" => |engine| engine.tag_image("i1", "app", "1").await;
        "registry" => |engine| engine.ask_registry("app", None).await;
        "ping" => |engine| engine.answers().await;
    }
    .to_vec()
}

/// The result of a call against an endless response, and how many bytes of it the engine could send.
async fn outcome(endless: Endless, call: EngineCall) -> (Result<(), EngineError>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let (listener, engine) = listen(directory.path());
    let sent = Arc::<Mutex<usize>>::default();
    let count = sent.clone();
    let serving = Background::spawn(async move {
        say_version(&listener).await;
        while let Some(mut stream) = asked(&listener).await {
            let piece = endless.go_on();
            let mut next = stream.write_all(endless.begin().as_bytes()).await;
            while next.is_ok() {
                next = stream.write_all(piece.as_bytes()).await;
                *count.lock().unwrap() += piece.len();
            }
        }
    });
    let outcome = tokio::time::timeout(DEADLINE, call(engine)).await.expect("it is cut");
    serving.stopped().await;
    let sent = *sent.lock().unwrap();
    (outcome, sent)
}

/// More than any response that is buffered may be long, including data in flight.
const MOST: usize = 24 << 20;

#[tokio::test]
async fn answers_without_an_end_are_cut_whatever_was_asked() {
    for (name, call) in verbs() {
        for endless in [Endless::Text, Endless::Chunks, Endless::Error, Endless::Headers] {
            // The client library assembles the chunks, which is slow. One call is enough.
            if endless == Endless::Chunks && matches!(name, "inspect exec" | "network" | "info" | "version") {
                continue;
            }
            let (outcome, sent) = outcome(endless, call).await;
            let error = outcome.expect_err(name);
            assert!(sent < MOST, "{name} {endless:?}: {sent} bytes, {error}");
            assert!(!error.is_not_found() && error.to_string().len() < 5 << 10, "{name} {endless:?}: {error}");
        }
    }
}

#[tokio::test]
async fn heads_without_an_end_are_cut_whatever_was_asked() {
    for (name, call) in heads() {
        for endless in [Endless::Informational, Endless::Header, Endless::Error] {
            let (outcome, sent) = outcome(endless, call).await;
            let error = outcome.expect_err(name);
            assert!(sent < MOST, "{name} {endless:?}: {sent} bytes, {error}");
            assert!(error.to_string().len() < 5 << 10, "{name} {endless:?}");
        }
    }
}

#[tokio::test]
async fn blanks_without_an_end_are_cut_too() {
    let info: EngineCall = |engine| async move { engine.ask_facts().await.map(drop) }.boxed();

    let (outcome, sent) = outcome(Endless::Blanks, info).await;

    assert_eq!(outcome.unwrap_err().to_string(), "the Docker daemon's answer is longer than 16 MiB");
    assert!(sent < MOST, "{sent}");
}

/// Answers the second request with a head, pieces and an end.
async fn answering(listener: UnixListener, pieces: Vec<String>) {
    say_version(&listener).await;
    while let Some(mut stream) = asked(&listener).await {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await.unwrap();
        for piece in &pieces {
            if stream.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_event_that_is_too_long_wakes_all_and_the_next_one_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, engine) = listen(directory.path());
    let label = "x".repeat(1 << 20);
    let begin = r#"{"Type":"container","Action":"die","Actor":{"ID":"big","Attributes":{"label":""#.to_owned();
    let next = "\n{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"c1\"}}\n".to_owned();
    let pieces = [vec![begin], vec![label; 80], vec!["\"}}}".to_owned(), next]].concat();
    let _serving = Background::spawn(answering(listener, pieces));

    let events: Vec<_> = {
        let events = engine.container_events(std::time::SystemTime::now()).await.unwrap();
        events.map(Result::unwrap).collect().await
    };

    let [EngineEvent::Unread, EngineEvent::Container(event)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.container, "c1");
}

#[tokio::test]
async fn an_image_that_is_too_large_is_known_by_id_and_names_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, engine) = listen(directory.path());
    let label = "x".repeat(1 << 20);
    let begin = r#"{"Id":"sha256:ab","Config":{"Labels":{"x":""#.to_owned();
    let end = r#""}},"RepoTags":["app:1"],"RepoDigests":[],"Size":7}"#.to_owned();
    let pieces = [vec![begin], vec![label; 20], vec![end]].concat();
    let _serving = Background::spawn(answering(listener, pieces));

    let (found, size) = engine.measure_image("app:1").await.unwrap();

    assert_eq!((found.id.as_str(), found.tags, found.size), ("sha256:ab", vec!["app:1".to_owned()], 7));
    assert_eq!((size, found.config), (ConfigSize::TooLarge, None));
}

#[tokio::test]
async fn labels_of_strangers_images_are_passed_over_in_lists() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, engine) = listen(directory.path());
    let labels = format!(r#"{{"big":"{}","com.hashicorp.nomad.alloc_id":"a1"}}"#, "x".repeat(40 << 20));
    let list = format!(r#"[{{"Id":"c1","Names":["/web"],"Labels":{labels},"State":"running"}}]"#);
    let _serving = Background::spawn(answering(listener, vec![list]));

    let found = engine.containers_with_label("com.hashicorp.nomad.alloc_id").await.unwrap();

    let labels = found[0].labels.clone();
    assert_eq!((found.len(), labels.len()), (1, 1));
    assert_eq!(labels["com.hashicorp.nomad.alloc_id"], "a1");
}

#[tokio::test]
async fn a_list_whose_end_is_away_holds_no_thread() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, engine) = listen(directory.path());
    let silent = async {
        let mut stream = listener.accept().await.unwrap().0;
        head(&mut stream).await.unwrap();
        stream.write_all(whole("200 OK", VERSION).as_bytes()).await.unwrap();
        drop(stream);
        let mut stream = listener.accept().await.unwrap().0;
        head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").await.unwrap();
        // The connection is closed once nobody waits for it.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
    };
    let asked = tokio::time::timeout(Duration::from_millis(200), engine.running_containers());

    let (asked, closed) = tokio::join!(asked, tokio::time::timeout(DEADLINE, silent));

    assert!(asked.is_err() && closed.is_ok());
}
