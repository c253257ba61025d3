//! The engine itself, and its events.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use serde_json::json;

use crate::{
    answer::{self, Answer, ApiError, Body},
    call::Call,
    engine::FakeEngine,
    events::Filter,
};

pub(super) fn answer(engine: &FakeEngine, method: &str, path: &str, call: &Call) -> Answer {
    match (method, path) {
        ("GET" | "HEAD", "/_ping") => Ok(answer::word("OK")),
        ("GET", "/version") => Ok(answer::whole(
            200,
            &json!({
                "Platform": { "Name": "fake" },
                "Version": "20.10.24",
                "ApiVersion": "1.41",
                "MinAPIVersion": "1.12",
                "Os": "linux",
                "Arch": "amd64",
                "KernelVersion": "6.1.0",
            }),
        )),
        ("GET", "/info") => Ok(info(engine)),
        ("GET", "/events") => Ok(events(engine, call)),
        _ => Err(ApiError::no_page()),
    }
}

fn info(engine: &FakeEngine) -> Response<Body> {
    let world = engine.world();
    let running = world.containers.iter().filter(|container| container.is_running()).count();
    let info = json!({
        "ID": "FAKE:ENGI:NE00",
        "Containers": world.containers.len(),
        "ContainersRunning": running,
        "Images": world.images.len(),
        "Driver": "overlay2",
        "DockerRootDir": world.root,
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "1",
        "Runtimes": { "runc": { "path": "runc" }, "io.containerd.runc.v2": { "path": "runc" } },
        "DefaultRuntime": "runc",
        "OSType": "linux",
        "Architecture": "x86_64",
        "ServerVersion": "20.10.24",
        "SecurityOptions": ["name=seccomp,profile=default"],
        "Name": "fake",
    });
    answer::whole(200, &info)
}

/// Seconds since 1970, with a fraction.
fn time(text: &str) -> Option<SystemTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds.parse().ok()?, nanoseconds))
}

fn events(engine: &FakeEngine, call: &Call) -> Response<Body> {
    let filter = Filter::parse(call.request.query("filters"));
    let (at, changed) = {
        let log = &engine.world().log;
        (log.begin(time(call.request.query("since"))), log.subscribe())
    };
    let state = (engine.clone(), filter, at, changed);
    let lines = stream::unfold(state, |(engine, filter, mut at, mut changed)| async move {
        loop {
            changed.mark_unchanged();
            let next = engine.world().log.get(at).cloned();
            let Some(event) = next else {
                changed.changed().await.ok()?;
                continue;
            };
            at += 1;
            if filter.wants(&event) {
                let line = Bytes::from(format!("{}\n", event.json()));
                return Some((Ok(line), (engine, filter, at, changed)));
            }
        }
    });
    answer::piecewise("application/json", lines)
}
