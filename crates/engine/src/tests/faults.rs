//! Each verb at each fault of the engine: an error that says whether another attempt may help, within the verb's deadline, or the
//! success that the answer's head says.

use fake_engine::{Image, OnSignal};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use request::{ContainerCreateBody, EndpointSettings};

use super::*;

/// What a verb reads of a success's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Nothing,
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refused,
    Failed,
    FailedAfter,
    Dropped,
    AnswerLost,
    Hangs,
    HangsAfter,
    Cut,
    Mute,
    Trickles,
    Garbled,
    AnotherShape,
}

use Fault::{
    AnotherShape, AnswerLost, Cut, Dropped, Failed, FailedAfter, Garbled, Hangs, HangsAfter, Mute, Refused, Trickles,
};

const FAULTS: [Fault; 12] =
    [Refused, Failed, FailedAfter, Dropped, AnswerLost, Hangs, HangsAfter, Cut, Mute, Trickles, Garbled, AnotherShape];

impl Fault {
    /// Lets all calls but the negotiation fail.
    fn begin(self, fake: &FakeEngine) {
        let reply = match self {
            Refused => return fake.stop(),
            Failed => Reply::error(500, "no space left on device"),
            FailedAfter => Reply::error_after(500, "no space left on device"),
            Dropped => Reply::drop_connection(),
            AnswerLost => Reply::lose_answer(),
            Hangs => Reply::hang(),
            HangsAfter => Reply::hang_after(),
            Cut => Reply::cut_body(),
            Mute => Reply::mute(),
            Trickles => Reply::trickle(Duration::from_secs(10)),
            Garbled => Reply::garble(),
            AnotherShape => Reply::json(200, serde_json::json!({ "message": "I am no engine" })),
        };
        fake.on("*").always(reply);
    }

    /// Whether a verb must fail, and then whether another attempt may help, and whether the call may have had its effect.
    fn outcome(self, verb: &Verb) -> Result<(), (bool, bool)> {
        let is_reading = verb.kind == CallKind::Reading;
        match self {
            Cut | Mute | Trickles if verb.reads == Reads::Nothing => Ok(()),
            Garbled | AnotherShape if verb.reads != Reads::Json => Ok(()),
            Refused => Err((true, false)),
            Failed | FailedAfter => Err((is_reading, !is_reading)),
            _ => Err((true, true)),
        }
    }
}

type EngineCall = fn(Engine, String) -> BoxFuture<'static, Result<(), EngineError>>;

struct Verb {
    name: &'static str,
    kind: CallKind,
    reads: Reads,
    deadline: Duration,
    /// Its second argument is the id of an exec.
    call: EngineCall,
}

macro_rules! verbs {
    ($($name:literal $kind:ident $reads:ident $deadline:expr => |$engine:ident, $exec:ident| $call:expr;)*) => {
        vec![$(Verb {
            name: $name,
            kind: CallKind::$kind,
            reads: Reads::$reads,
            deadline: $deadline,
            call: |$engine, $exec| async move { $call }.boxed(),
        }),*]
    };
}

#[rustfmt::skip]
fn verbs() -> Vec<Verb> {
    verbs! {
        "create" Changing Json SLOW => |engine, _e| {
            let body = ContainerCreateBody { image: Some("app:1".to_owned()), ..ContainerCreateBody::default() };
            engine.create_container("another", body).await.map(drop)
        };
        "start" Changing Nothing SLOW => |engine, _e| engine.start_container("created").await;
        "inspect" Reading Json SLOW => |engine, _e| engine.inspect_container("c1").await.map(drop);
        "stop" Changing Nothing SLOW => |engine, _e| engine.stop_container("stopped", Duration::ZERO).await;
        "kill" Changing Nothing SLOW => |engine, _e| engine.kill_container("killed", "KILL").await;
        "remove" Changing Nothing SLOW => |engine, _e| engine.remove_container("removed").await;
        "publishers" Reading Json QUICK => |engine, _e| engine.containers_that_publish("80/tcp").await.map(drop);
        "running" Reading Json ALIVE => |engine, _e| engine.running_containers().await.map(drop);
        "labelled" Reading Json QUICK => |engine, _e| engine.containers_with_label("a").await.map(drop);
        "create exec" Changing Json SLOW => |engine, _e| {
            engine.create_exec("c1", vec!["true".to_owned()], false, ExecTerminal::No).await.map(drop)
        };
        "inspect exec" Reading Json QUICK => |engine, exec| engine.inspect_exec(&exec).await.map(drop);
        "resize exec" Changing Nothing QUICK => |engine, exec| engine.resize_exec(&exec, 1, 1).await;
        "network" Reading Json QUICK => |engine, _e| engine.inspect_network("bridge").await.map(drop);
        "bridge" Reading Json QUICK => |engine, _e| engine.bridge_address().await.map(drop);
        "connect" Changing Nothing SLOW => |engine, _e| {
            engine.connect_network("bridge", "c1", EndpointSettings::default()).await
        };
        "info" Reading Json QUICK => |engine, _e| engine.ask_facts().await.map(drop);
        "version" Reading Json QUICK => |engine, _e| engine.version().await.map(drop);
        "ping" Reading Text ALIVE => |engine, _e| engine.answers().await;
        "inspect image" Reading Json QUICK => |engine, _e| engine.inspect_image("app:1").await.map(drop);
        "images" Reading Json QUICK => |engine, _e| engine.images().await.map(drop);
        "tag" Changing Nothing QUICK => |engine, _e| engine.tag_image("app:1", "app", "2").await;
        "remove image" Changing Nothing SLOW => |engine, _e| engine.remove_image("old:1").await;
        "registry" Reading Nothing REGISTRY => |engine, _e| engine.ask_registry("app:1", None).await;
    }
}

/// An engine with what the verbs are about, with which the version is negotiated, and an exec's id.
async fn prepared() -> (FakeEngine, Engine, String) {
    let fake = FakeEngine::start();
    fake.set_on_signal(OnSignal::Exit(0));
    for image in ["app:1", "old:1"] {
        fake.add_image(Image::named(image));
        fake.add_to_registry(Image::named(image));
    }
    for name in ["c1", "created", "stopped", "killed", "removed"] {
        fake.create(name, serde_json::json!({ "Image": "app:1" }));
        if name != "created" {
            fake.run(name);
        }
    }
    let engine = Engine::new(Endpoint { address: fake.address(), tls: None });
    let exec = engine.create_exec("c1", vec!["true".to_owned()], false, ExecTerminal::No).await.unwrap();
    (fake, engine, exec)
}

#[tokio::test(start_paused = true)]
async fn each_verb_without_a_fault_succeeds() {
    let (_fake, engine, exec) = prepared().await;

    for Verb { name, call, .. } in verbs() {
        assert_eq!(call(engine.clone(), exec.clone()).await, Ok(()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_at_each_verb_is_an_error_that_says_whether_to_try_again_and_none_outlasts_the_deadline() {
    for fault in FAULTS {
        let (fake, engine, exec) = prepared().await;
        fault.begin(&fake);
        let (engine, exec) = (&engine, &exec);

        let outcomes = join_all(verbs().into_iter().map(|verb| async move {
            let begun = Instant::now();
            let outcome = (verb.call)(engine.clone(), exec.clone()).await;
            (verb, outcome, begun.elapsed())
        }));

        for (verb, outcome, took) in outcomes.await {
            let said = outcome.as_ref().map_err(|error| (error.is_transient(), error.may_have_happened())).copied();
            assert_eq!(said, fault.outcome(&verb), "{} {fault:?}: {outcome:?}", verb.name);
            assert!(took <= verb.deadline + Duration::from_secs(1), "{} {fault:?}: {took:?}", verb.name);
        }
    }
}

type StreamCall = fn(Engine, String) -> BoxFuture<'static, Option<Result<(), EngineError>>>;

/// The calls whose answers are streams: what comes first.
fn streams() -> [(&'static str, CallKind, Option<Duration>, StreamCall); 5] {
    use CallKind::{Changing, Reading};
    [
        ("events", Reading, Some(ALIVE), |engine, _| {
            async move {
                match engine.container_events(std::time::SystemTime::now()).await {
                    Ok(mut events) => Some(events.next().await?.map(drop)),
                    Err(error) => Some(Err(error)),
                }
            }
            .boxed()
        }),
        ("logs", Reading, Some(QUICK), |engine, _| {
            async move { Some(engine.container_logs("c1", 0).boxed().next().await?.map(drop)) }.boxed()
        }),
        ("start exec", Changing, Some(SLOW), |engine, exec| {
            async move { Some(engine.start_exec(&exec, ExecTerminal::No).await.map(drop)) }.boxed()
        }),
        ("pull", Changing, None, |engine, _| {
            async move { Some(engine.pull_image("app", "1", None).next().await?.map(drop)) }.boxed()
        }),
        ("load", Changing, None, |engine, _| {
            async move { Some(engine.load_images("a", stream::empty(), drop).await) }.boxed()
        }),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_begin_is_an_error_that_says_whether_to_try_again() {
    for fault in [Refused, Failed, Dropped, AnswerLost, Hangs] {
        let (fake, engine, exec) = prepared().await;
        fault.begin(&fake);

        for (name, kind, deadline, call) in streams() {
            if fault == Hangs && deadline.is_none() {
                continue;
            }
            let begun = Instant::now();
            let error = call(engine.clone(), exec.clone()).await.expect(name).expect_err(name);

            let is_transient = fault != Failed || kind == CallKind::Reading;
            assert_eq!(error.is_transient(), is_transient, "{name} {fault:?}: {error}");
            let most = deadline.unwrap_or_default() + Duration::from_secs(1);
            assert!(begun.elapsed() <= most, "{name} {fault:?}: {:?}", begun.elapsed());
        }
    }
}

#[tokio::test]
async fn an_error_has_its_status_whatever_becomes_of_its_body() {
    let heads = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n";
    let bodies = [
        ("Content-Length: 90\r\n\r\n{\"message\":\"No such", "Error response from daemon: {\"message\":\"No such"),
        ("Content-Length: 90\r\n\r\n", "Error response from daemon: 404 Not Found"),
        ("Transfer-Encoding: chunked\r\n\r\nno chunk", "Error response from daemon: 404 Not Found"),
        ("Content-Length: 7\r\n\r\n{\"a\":1}", "Error response from daemon: {\"a\":1}"),
    ];
    for (body, text) in bodies {
        let directory = tempfile::tempdir().unwrap();
        let (listener, engine) = listen(directory.path());
        let serving = async {
            say_version(&listener).await;
            let mut stream = asked(&listener).await.unwrap();
            stream.write_all([heads, body].concat().as_bytes()).await.unwrap();
        };

        let (answer, ()) = tokio::join!(engine.inspect_container("c1"), serving);

        let error = answer.unwrap_err();
        assert!(error.is_not_found(), "{body}: {error}");
        assert_eq!(error.to_string(), text);
    }
}
