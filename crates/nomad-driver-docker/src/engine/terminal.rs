//! A command's terminal, byte for byte.
//!
//! The client library takes the first byte of what it reads for a frame's header where that byte is 0, 1 or 2. A
//! terminal's output has no frames, so those bytes are read here as they come.

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::io::ReaderStream;

use super::{EngineError, ExecOutput, ExecStream, error::Cause, exec::CHUNK};
use crate::background::Background;

/// Starts a prepared command on a terminal, attached over a connection of its own.
pub(super) async fn start(socket: &str, exec: &str) -> Result<ExecStream, Cause> {
    let broken = |error: hyper::Error| Cause::Broken(error.to_string());
    let connected = UnixStream::connect(socket.trim_start_matches("unix://")).await;
    let stream =
        connected.map_err(|error| Cause::Unreachable { address: socket.to_owned(), reason: error.to_string() })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = Background::spawn(async move {
        let _told_by_the_streams = connection.with_upgrades().await;
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/exec/{exec}/start"))
        .header(header::HOST, "docker")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "tcp")
        .body(Full::new(Bytes::from_static(br#"{"Detach":false,"Tty":true}"#)))
        .map_err(|error| Cause::Unusable(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS && status != StatusCode::OK {
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        return Err(Cause::Response { status: status.as_u16(), message: message(&body) });
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
    let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
    let subject = exec.to_owned();
    let output = ReaderStream::with_capacity(reader, CHUNK).map(move |piece| {
        // The connection lives as long as its output is read.
        let _held = &connection;
        piece.map(ExecOutput::Stdout).map_err(|error| EngineError {
            operation: "attach to exec",
            subject: subject.clone(),
            cause: Cause::Broken(error.to_string()),
        })
    });
    Ok(ExecStream { output: Box::pin(output), input: Box::pin(writer) })
}

/// The engine's words in an error's body.
fn message(body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|value| value["message"].as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}
