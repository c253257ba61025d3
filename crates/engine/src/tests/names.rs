//! Whatever a name contains, the request is sent to the verb's own path or not at all.

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use request::{ContainerCreateBody, EndpointSettings};

use super::*;

/// What a text becomes in a verb's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// One segment between two texts.
    Segment(&'static str, &'static str),
    /// An image's reference between two texts.
    Reference(&'static str, &'static str),
    /// A query value after this path.
    Query(&'static str),
    /// A text of a JSON list in the query.
    Filter(&'static str),
    /// Nothing: the text is in the body, or only in messages.
    Nothing(&'static str),
}

use Part::{Filter, Nothing, Query, Reference, Segment};

type Call = fn(Engine, String) -> BoxFuture<'static, ()>;

macro_rules! verbs {
    ($($part:expr => |$engine:ident, $text:ident| $call:expr;)*) => {
        [$(($part, {
            let call: Call = |$engine, $text| async move { let _outcome = $call; }.boxed();
            call
        })),*]
    };
}

/// Every verb, once for each text that it takes.
fn verbs() -> Vec<(Part, Call)> {
    let containers = |behind| Segment("/containers/", behind);
    verbs! {
        Query("/containers/create") => |engine, text| engine.create_container(&text, ContainerCreateBody::default()).await;
        containers("/start") => |engine, text| engine.start_container(&text).await;
        containers("/json") => |engine, text| engine.inspect_container(&text).await;
        containers("/stop") => |engine, text| engine.stop_container(&text, Duration::ZERO).await;
        containers("/kill") => |engine, text| engine.kill_container(&text, "KILL").await;
        Query("/containers/c1/kill") => |engine, text| engine.kill_container("c1", &text).await;
        containers("") => |engine, text| engine.remove_container(&text).await;
        Filter("/containers/json") => |engine, text| engine.containers_that_publish(&text).await;
        Filter("/containers/json") => |engine, text| engine.containers_with_label(&text).await;
        containers("/logs") => |engine, text| engine.container_logs(&text, 0).boxed().next().await;
        containers("/exec") => |engine, text| engine.create_exec(&text, Vec::new(), false, ExecTerminal::No).await;
        Nothing("/containers/c1/exec") => |engine, text| {
            engine.create_exec("c1", vec![text], false, ExecTerminal::No).await
        };
        Segment("/exec/", "/start") => |engine, text| engine.start_exec(&text, ExecTerminal::Yes).await.map(drop);
        Segment("/exec/", "/start") => |engine, text| engine.start_exec(&text, ExecTerminal::No).await.map(drop);
        Segment("/exec/", "/json") => |engine, text| engine.inspect_exec(&text).await;
        Segment("/exec/", "/resize") => |engine, text| engine.resize_exec(&text, 1, 1).await;
        Reference("/images/", "/json") => |engine, text| engine.inspect_image(&text).await;
        Reference("/images/", "/json") => |engine, text| engine.measure_image(&text).await;
        Reference("/images/", "/tag") => |engine, text| engine.tag_image(&text, "app", "1").await;
        Query("/images/i1/tag") => |engine, text| engine.tag_image("i1", &text, "1").await;
        Query("/images/i1/tag") => |engine, text| engine.tag_image("i1", "app", &text).await;
        Reference("/images/", "") => |engine, text| engine.remove_image(&text).await;
        Reference("/distribution/", "/json") => |engine, text| engine.ask_registry(&text, None).await;
        Query("/images/create") => |engine, text| engine.pull_image(&text, "latest", None).next().await;
        Query("/images/create") => |engine, text| engine.pull_image("app", &text, None).next().await;
        Nothing("/images/load") => |engine, text| engine.load_images(&text, stream::empty(), drop).await;
        Segment("/networks/", "") => |engine, text| engine.inspect_network(&text).await;
        Segment("/networks/", "/connect") => |engine, text| {
            engine.connect_network(&text, "c1", EndpointSettings::default()).await
        };
        Nothing("/networks/n1/connect") => |engine, text| {
            engine.connect_network("n1", &text, EndpointSettings::default()).await
        };
    }
    .to_vec()
}

fn hostile() -> Vec<String> {
    let texts = [
        "",
        ".",
        "..",
        "/",
        "//",
        "../x",
        "x/..",
        "a/../../b",
        "../containers/X/kill?signal=KILL&x=",
        "?x",
        "x?y=z&a=b",
        "#",
        "x#y",
        "%2f",
        "..%2fx",
        "%2e%2e",
        "%2E%2E/x",
        ".%2e",
        "%",
        "%zz",
        "\\",
        "..\\x",
        "a\r\nHost: x\r\n\r\nGET / HTTP/1.1",
        "\n",
        "\t",
        ".\t.",
        "a\0b",
        "\u{7f}",
        " ",
        "a b",
        "é",
        "\u{202e}",
        "a:b@c",
        "//host/x",
        "http://host/x",
        ";x=y",
        "a+b&c=d",
        "\"]}",
        "[::1]:5000/a",
    ];
    texts.into_iter().map(str::to_owned).chain(["x".repeat(100_000), "../".repeat(40_000)]).collect()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// Fails if a request is not the verb's own.
fn check(part: Part, text: &str, line: &str) {
    let context = format!("{part:?} of {:?}: {line:?}", text.chars().take(50).collect::<String>());
    let [_, address, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{context}") };
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let path = path.strip_prefix("/v1.41").unwrap_or(path);
    let inside = |before: &str, behind: &str| {
        let inside = path.strip_prefix(before).and_then(|path| path.strip_suffix(behind));
        inside.unwrap_or_else(|| panic!("{context}")).to_owned()
    };
    let is_in_query = |is_it: &dyn Fn(&str) -> bool| {
        form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| is_it(value)).count() == 1
    };
    match part {
        Segment(before, behind) => {
            let segment = inside(before, behind);
            assert!(!segment.contains('/') && decoded(&segment) == text, "{context}");
            assert!(!matches!(segment.as_str(), "" | "." | ".."), "{context}");
        }
        Reference(before, behind) => {
            let reference = inside(before, behind);
            assert_eq!(decoded(&reference), text, "{context}");
            assert!(reference.split('/').all(|part| !matches!(decoded(part).as_str(), "" | "." | "..")), "{context}");
        }
        Query(expected) => {
            assert!(path == expected && (text.is_empty() || is_in_query(&|value| value == text)), "{context}");
        }
        Filter(expected) => {
            let quoted = serde_json::to_string(text).unwrap();
            assert!(path == expected && is_in_query(&|value| value.contains(&quoted)), "{context}");
        }
        Nothing(expected) => assert_eq!(path, expected, "{context}"),
    }
}

#[tokio::test]
async fn whatever_a_name_is_the_request_is_sent_to_the_verbs_own_path_or_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, engine) = listen(directory.path());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    let _serving = Background::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let noted = noted.clone();
            #[expect(clippy::disallowed_methods, reason = "the set ends with the server")]
            connections.spawn(async move {
                let Some(head) = head(&mut stream).await else { return };
                let line = head.lines().next().unwrap().to_owned();
                let answer = if line.contains("/version ") {
                    whole("200 OK", VERSION)
                } else {
                    assert_eq!(head.to_lowercase().matches("\r\nhost: ").count(), 1, "{head}");
                    noted.lock().unwrap().push(line);
                    whole("500 No", r#"{"message":"no"}"#)
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });

    let (mut sent, mut refused) = (0, 0);
    for (part, call) in verbs() {
        for text in hostile() {
            tokio::time::timeout(DEADLINE, call(engine.clone(), text.clone())).await.unwrap();
            let asked = std::mem::take(&mut *asked.lock().unwrap());
            assert!(asked.len() < 2, "{part:?} of {text:?}: {asked:?}");
            for line in &asked {
                check(part, &text, line);
            }
            sent += asked.len();
            refused += usize::from(asked.is_empty());
        }
        // A valid name arrives.
        let name = "my_name-1.2";
        call(engine.clone(), name.to_owned()).await;
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        check(part, name, &asked[0]);
    }
    assert!(sent > 300 && refused > 100, "{sent} {refused}");
}

#[tokio::test]
async fn a_request_to_another_path_than_its_routes_is_sent_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, engine) = listen(directory.path());
    let version = async {
        let mut stream = listener.accept().await.unwrap().0;
        head(&mut stream).await.unwrap();
        stream.write_all(whole("200 OK", VERSION).as_bytes()).await.unwrap();
    };
    let route = route::Route::about("/containers/", "c1", "/json", route::Answer::Short);
    let stray = engine.connection.call("stray", route, QUICK, |docker: bollard::Docker, _| async move {
        docker.inspect_network("../containers/c2/json?", None).await
    });

    let (error, ()) = tokio::join!(stray, version);

    assert!(error.unwrap_err().to_string().contains("to another path"));
    assert!(listener.accept().now_or_never().is_none());
}
