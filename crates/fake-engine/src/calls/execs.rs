//! Commands in containers.

use http::{HeaderValue, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frame::frame;
use crate::{
    answer::{self, Answer, ApiError, Body},
    call::Call,
    engine::FakeEngine,
    journal::Request,
    model::{ExecState, NOBODY, Prepared},
};

pub(super) fn create(engine: &FakeEngine, name: &str, request: &Request) -> Answer {
    let mut world = engine.world();
    let container = world.container(name)?;
    if !container.is_running() {
        return Err(ApiError::new(409, format!("Container {} is not running", container.id)));
    }
    let (container, id, exec) = (container.id.clone(), world.id(), world.exec.clone());
    let prepared = Prepared { container, request: request.body.clone(), exec, state: ExecState::Prepared };
    world.execs.insert(id.clone(), prepared);
    Ok(answer::whole(201, &json!({ "Id": id })))
}

pub(super) fn answer(engine: &FakeEngine, method: &str, rest: &str, call: Call) -> Answer {
    let (id, verb) = rest.split_once('/').unwrap_or((rest, ""));
    let known = engine.world().execs.get(id).cloned();
    let prepared = known.ok_or_else(|| ApiError::new(404, format!("No such exec instance: {id}")))?;
    match (method, verb) {
        ("POST", "start") => Ok(start(engine, id, prepared, call)),
        ("GET", "json") => Ok(answer::whole(200, &inspected(id, &prepared))),
        ("POST", "resize") => Ok(answer::nothing(200)),
        _ => Err(ApiError::no_page()),
    }
}

fn inspected(id: &str, prepared: &Prepared) -> Value {
    let command = prepared.request["Cmd"].as_array().cloned().unwrap_or_default();
    let is_running = prepared.state == ExecState::Running;
    let code = (prepared.state == ExecState::Exited).then_some(prepared.exec.code);
    json!({
        "ID": id,
        "Running": is_running,
        "ExitCode": code,
        "ProcessConfig": {
            "tty": prepared.request["Tty"] == json!(true),
            "entrypoint": command.first(),
            "arguments": command.get(1..),
            "privileged": false,
        },
        "OpenStdin": prepared.request["AttachStdin"] == json!(true),
        "OpenStderr": true,
        "OpenStdout": true,
        "CanRemove": false,
        "ContainerID": prepared.container,
        "DetachKeys": "",
        "Pid": if is_running { NOBODY } else { 0 },
    })
}

fn set(engine: &FakeEngine, id: &str, state: ExecState) {
    if let Some(prepared) = engine.world().execs.get_mut(id) {
        prepared.state = state;
    }
}

/// The connection becomes the command's streams.
fn start(engine: &FakeEngine, id: &str, prepared: Prepared, call: Call) -> Response<Body> {
    let upgraded = hyper::upgrade::on(http::Request::from_parts(call.head, answer::text("")));
    let (own, id) = (engine.clone(), id.to_owned());
    set(engine, &id, ExecState::Running);
    engine.tasks().spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let mut stream = TokioIo::new(upgraded);
            let is_terminal = prepared.request["Tty"] == json!(true);
            for (stderr, text) in [(false, &prepared.exec.stdout), (true, &prepared.exec.stderr)] {
                let piece = if is_terminal { text.clone().into() } else { frame(stderr, text.as_bytes()) };
                if !text.is_empty() && stream.write_all(&piece).await.is_err() {
                    break;
                }
            }
            if prepared.exec.reads_input {
                let mut input = [0; 1024];
                while stream.read(&mut input).await.is_ok_and(|count| count > 0) {}
            }
            set(&own, &id, ExecState::Exited);
            let _closed_already = stream.shutdown().await;
        }
    });
    let mut response = Response::new(answer::text(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.docker.raw-stream"));
    response
}
