//! Commands run inside a container.

use std::pin::Pin;

use bollard::{Docker, body_full, exec::ResizeExecOptions, models::ExecConfig};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Method, Request, header};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio_util::io::ReaderStream;

use super::{
    Engine, EngineError, QUICK, SLOW, body,
    error::with,
    frames::{Frames, Piece},
    route::{Answer, Route},
};

/// Whether a command gets a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecTerminal {
    /// A terminal: output is one stream, as it comes.
    Yes,
    /// No terminal: standard output and standard error are separate.
    No,
}

/// A piece of a command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output, or the terminal's output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
}

/// A running command's streams.
pub struct ExecStream {
    /// The output, until it ends.
    pub output: Pin<Box<dyn Stream<Item = Result<ExecOutput, EngineError>> + Send>>,
    /// The standard input; shutting it down ends the input.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

/// The state of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecState {
    /// Whether it is running.
    pub is_running: bool,
    /// Its process, on the engine's host.
    pub pid: Option<i64>,
    /// Its exit code, once it has ended.
    pub exit_code: Option<i64>,
}

/// The chunk size in which output is read.
const CHUNK: usize = 64 << 10;

impl Engine {
    /// Prepares a command and returns the exec's id.
    pub async fn create_exec(
        &self,
        container: &str,
        command: Vec<String>,
        stdin: bool,
        terminal: ExecTerminal,
    ) -> Result<String, EngineError> {
        let config = ExecConfig {
            attach_stdin: Some(stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(terminal == ExecTerminal::Yes),
            cmd: Some(command),
            ..ExecConfig::default()
        };
        let call = |docker: Docker, container: String| async move { docker.create_exec(&container, config).await };
        let route = Route::about("/containers/", container, "/exec", Answer::Short);
        Ok(self.connection.call("create exec", route, SLOW, call).await?.id)
    }

    /// Starts a prepared command, attached.
    pub async fn start_exec(&self, exec: &str, terminal: ExecTerminal) -> Result<ExecStream, EngineError> {
        let is_terminal = terminal == ExecTerminal::Yes;
        let body = serde_json::json!({ "Detach": false, "Tty": is_terminal }).to_string();
        let mut request = Request::new(body_full(body.into()));
        *request.method_mut() = Method::POST;
        for (name, value) in
            [(header::CONTENT_TYPE, "application/json"), (header::CONNECTION, "Upgrade"), (header::UPGRADE, "tcp")]
        {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let route = Route::about("/exec/", exec, "/start", Answer::Stream);
        let answer = self.connection.send("start exec", &route, &[], Some(SLOW), request).await?;
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| EngineError::Broken(error.to_string()))?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        // A terminal's output is not framed.
        let frames = if is_terminal { Frames::terminal() } else { Frames::pieces() };
        let pieces = ReaderStream::with_capacity(reader, CHUNK);
        let output = body::pieces(pieces, frames).map(move |piece| match piece {
            Ok(Piece { stderr: true, bytes }) => Ok(ExecOutput::Stderr(bytes)),
            Ok(Piece { stderr: false, bytes }) => Ok(ExecOutput::Stdout(bytes)),
            Err(error) => Err(EngineError::Broken(error.to_string())),
        });
        Ok(ExecStream { output: Box::pin(output), input: Box::pin(writer) })
    }

    /// The state of a command.
    pub async fn inspect_exec(&self, exec: &str) -> Result<ExecState, EngineError> {
        let call = |docker: Docker, exec: String| async move { docker.inspect_exec(&exec).await };
        let route = Route::about("/exec/", exec, "/json", Answer::Thing);
        let inspected = self.connection.ask("inspect exec", route, QUICK, call).await?;
        let inspected = with("ID", inspected, |inspected| inspected.id.is_some())?;
        Ok(ExecState {
            is_running: inspected.running == Some(true),
            pid: inspected.pid.filter(|pid| *pid > 0),
            // The engine reports a code before the end, too.
            exit_code: inspected.exit_code.filter(|_| inspected.running == Some(false)),
        })
    }

    /// Resizes a command's terminal, in characters.
    pub async fn resize_exec(&self, exec: &str, height: u16, width: u16) -> Result<(), EngineError> {
        let call = |docker: Docker, exec: String| async move {
            docker.resize_exec(&exec, ResizeExecOptions { height, width }).await
        };
        let route = Route::about("/exec/", exec, "/resize", Answer::Short);
        self.connection.call("resize exec", route, QUICK, call).await
    }
}
