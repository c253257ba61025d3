//! Containers.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::Response;
use serde_json::{Value, json};

use super::{execs, frame::frame, inspect};
use crate::{
    answer::{self, Answer, ApiError, Body},
    call::Call,
    engine::FakeEngine,
    events::values,
    journal::Request,
    model::{Container, OnSignal},
};

/// How long a stop waits if the request does not say.
const GRACE: u64 = 10;

pub(super) async fn answer(engine: &FakeEngine, method: &str, rest: &str, call: Call) -> Answer {
    let request = &call.request;
    let (name, verb) = rest.split_once('/').unwrap_or((rest, ""));
    match (method, name, verb) {
        ("GET", "json", "") => Ok(list(engine, request)),
        ("POST", "create", "") => {
            let id = engine.world().create(request.query("name"), request.body.clone())?;
            Ok(answer::whole(201, &json!({ "Id": id, "Warnings": [] })))
        }
        ("GET", name, "json") => {
            let world = engine.world();
            let container = world.container(name)?;
            Ok(answer::whole(200, &inspect::inspected(&world, container)))
        }
        ("POST", name, "start") => {
            let started = engine.world().start(name)?;
            Ok(answer::nothing(if started { 204 } else { 304 }))
        }
        ("POST", name, "stop") => stop(engine, name, request).await,
        ("POST", name, "kill") => {
            engine.world().kill(name, request.query("signal"))?;
            Ok(answer::nothing(204))
        }
        ("DELETE", name, "") => {
            engine.world().remove(name, is_true(request.query("force")))?;
            Ok(answer::nothing(204))
        }
        ("GET", name, "logs") => logs(engine, name, request),
        ("POST", name, "exec") => execs::create(engine, name, request),
        _ => Err(ApiError::no_page()),
    }
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "true" | "True")
}

fn list(engine: &FakeEngine, request: &Request) -> Response<Body> {
    let filters: Value = serde_json::from_str(request.query("filters")).unwrap_or_default();
    let filter = |name: &str| values(&filters[name]);
    let (labels, ports, names) = (filter("label"), filter("publish"), filter("name"));
    let has_label = |container: &Container, wanted: &String| match wanted.split_once('=') {
        Some((name, value)) => container.labels.get(name).is_some_and(|is| is == value),
        None => container.labels.contains_key(wanted),
    };
    let publishes = |listed: &Value, wanted: &String| {
        let (port, kind) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        let port = port.parse::<u64>().ok();
        let is_it = |of: &Value| of["PublicPort"].as_u64() == port && of["Type"] == json!(kind);
        listed["Ports"].as_array().is_some_and(|ports| ports.iter().any(is_it))
    };
    let world = engine.world();
    let found = world.containers.iter().filter(|container| {
        (is_true(request.query("all")) || container.is_running())
            && labels.iter().all(|label| has_label(container, label))
            && (names.is_empty()
                || names.iter().any(|name| container.name.contains(name.trim_matches(['/', '^', '$']))))
    });
    let listed = found.map(|container| inspect::listed(&world, container));
    let listed: Vec<Value> =
        listed.filter(|listed| ports.is_empty() || ports.iter().any(|port| publishes(listed, port))).collect();
    answer::whole(200, &Value::Array(listed))
}

async fn stop(engine: &FakeEngine, name: &str, request: &Request) -> Answer {
    let container = engine.world().container(name)?.clone();
    if !container.is_running() {
        return Ok(answer::nothing(304));
    }
    engine.world().kill(&container.id, "TERM")?;
    if container.on_signal == OnSignal::Ignore {
        let grace = request.query("t").parse().unwrap_or(GRACE);
        tokio::time::sleep(Duration::from_secs(grace)).await;
        let mut world = engine.world();
        if world.container(&container.id).is_ok_and(Container::is_running) {
            world.kill(&container.id, "KILL")?;
        }
    }
    Ok(answer::nothing(204))
}

/// The existing output; if followed, until the container exits.
fn logs(engine: &FakeEngine, name: &str, request: &Request) -> Answer {
    let world = engine.world();
    let container = world.container(name)?;
    let stamp = crate::clock::written(Some(container.created_at));
    let line = |(stderr, text): &(bool, String)| Ok(frame(*stderr, format!("{stamp} {text}").as_bytes()));
    let lines: Vec<_> = container.output.iter().map(line).collect();
    let (id, engine, mut changed) = (container.id.clone(), engine.clone(), world.log.subscribe());
    let follows = is_true(request.query("follow"));
    let ended = async move {
        let runs = || engine.world().container(&id).is_ok_and(Container::is_running);
        changed.mark_changed();
        while follows && changed.changed().await.is_ok() && runs() {}
    };
    let rest = stream::once(ended).filter_map(|()| std::future::ready(None));
    Ok(answer::piecewise("application/vnd.docker.raw-stream", stream::iter(lines).chain(rest)))
}
