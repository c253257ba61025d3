//! The socket: connections, requests, and how the script changes them.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::UnixListener;

use crate::{
    answer::{self, ApiError, Body},
    call::Call,
    calls,
    engine::FakeEngine,
    journal::Request,
    script::{Kind, Reply},
};

/// The longest body that is read.
const MOST: usize = 64 << 20;

impl FakeEngine {
    /// Serves on a socket in a directory of its own. Requires a tokio runtime.
    ///
    /// # Panics
    ///
    /// If the directory or the socket cannot be created.
    pub fn start() -> Self {
        let engine = Self::new();
        engine.serve();
        engine
    }

    /// Serves again after a [stop](Self::stop).
    ///
    /// # Panics
    ///
    /// If it is already serving, or the socket cannot be created.
    pub fn serve(&self) {
        let listener = UnixListener::bind(self.socket()).expect("a socket that nobody else has");
        self.tasks().spawn(serve(self.weak(), listener));
    }

    /// Closes all connections and serves again at once.
    pub fn restart(&self) {
        self.stop();
        self.serve();
    }
}

/// Serves until it is dropped.
async fn serve(engine: FakeEngine, listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let of_connection = engine.clone();
        let service = service_fn(move |request| answer(of_connection.clone(), request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        engine.tasks().spawn(async move {
            let _broken_by_the_script_or_the_client = connection.await;
        });
    }
}

/// An error closes the connection without a response.
async fn answer(engine: FakeEngine, request: http::Request<Incoming>) -> io::Result<Response<Body>> {
    let call = match read(request).await {
        Ok(call) => call,
        Err(error) => return Ok(error.into()),
    };
    engine.journal().write(call.request.clone());
    let Reply { delay, gate, before, kind, after } = engine.scripts().next(&call.request.method, &call.request.path);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if let Some(mut gate) = gate {
        let _dropped_is_open = gate.wait_for(|open| *open).await;
    }
    if let Some(before) = before {
        before.run(&engine);
    }
    let done = match &kind {
        Kind::Error { status, message } => ApiError::new(*status, message).into(),
        Kind::Json { status, body } => answer::whole(*status, body),
        Kind::Hang => return std::future::pending().await,
        Kind::Drop => return Err(io::Error::other("dropped by the script")),
        Kind::Stop => return stopped(&engine).await,
        _ => calls::answer(&engine, call).await,
    };
    if let Some(after) = after {
        after.run(&engine);
    }
    match kind {
        Kind::DropAfter => Err(io::Error::other("dropped by the script")),
        Kind::ErrorAfter { status, message } => Ok(ApiError::new(status, message).into()),
        Kind::HangAfter => std::future::pending().await,
        Kind::Cut => Ok(answer::cut(done).await),
        Kind::Mute => Ok(answer::mute(done)),
        Kind::Trickle(pause) => Ok(answer::trickle(done, pause)),
        Kind::Garble => Ok(answer::garbled(done)),
        Kind::StopAfter => stopped(&engine).await,
        _ => Ok(done),
    }
}

async fn stopped(engine: &FakeEngine) -> io::Result<Response<Body>> {
    engine.stop();
    std::future::pending().await
}

async fn read(request: http::Request<Incoming>) -> Result<Call, ApiError> {
    let (head, body) = request.into_parts();
    let raw = if head.uri.path().ends_with("/start") && head.uri.path().contains("/exec/") {
        // What follows is the command's input.
        Bytes::new()
    } else {
        let collected = Limited::new(body, MOST).collect().await;
        collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
            if error.is::<LengthLimitError>() {
                ApiError::new(413, "http: request body too large")
            } else {
                ApiError::new(400, format!("the body cannot be read: {error}"))
            }
        })?
    };
    let path = percent_decode_str(without_version(head.uri.path())).decode_utf8_lossy().into_owned();
    let query = head.uri.query().unwrap_or_default();
    let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let body = serde_json::from_slice(&raw).unwrap_or_default();
    let request = Request { method: head.method.to_string(), path, query, body };
    Ok(Call { request, head, raw })
}

/// A path without the API version.
fn without_version(path: &str) -> &str {
    let version = path.strip_prefix("/v").and_then(|rest| rest.split_once('/'));
    match version {
        Some((version, rest)) if version.starts_with(|first: char| first.is_ascii_digit()) => {
            &path[path.len() - rest.len() - 1..]
        }
        _ => path,
    }
}
