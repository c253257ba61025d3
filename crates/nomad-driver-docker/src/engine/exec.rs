//! Commands run inside a container.

use std::pin::Pin;

use bollard::{
    container::LogOutput,
    exec::{ResizeExecOptions, StartExecOptions, StartExecResults},
    models::{ExecConfig, ExecInspectResponse},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWrite;

use super::{
    Engine, EngineError, QUICK, SLOW,
    error::{self, Cause},
};

/// Whether a command gets a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecTerminal {
    /// It does: its output is one stream, as it comes.
    Yes,
    /// It does not: standard output and standard error come apart.
    No,
}

/// A piece of a command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output, or the terminal's.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
}

/// A running command's streams.
pub struct ExecStream {
    /// Its output, to its end.
    pub output: Pin<Box<dyn Stream<Item = Result<ExecOutput, EngineError>> + Send>>,
    /// Its standard input; shutting it down is the input's end.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

/// The size of the pieces in which output is read.
pub(super) const CHUNK: usize = 64 << 10;

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
        let call = |docker: bollard::Docker| async move { docker.create_exec(container, config).await };
        Ok(self.connection.call(("create exec", container), SLOW, call).await?.id)
    }

    /// Starts a prepared command, attached.
    pub async fn start_exec(&self, exec: &str, terminal: ExecTerminal) -> Result<ExecStream, EngineError> {
        if terminal == ExecTerminal::Yes && self.is_local() {
            let started = tokio::time::timeout(SLOW, super::terminal::start(self.address(), exec)).await;
            let started = started.unwrap_or(Err(Cause::Deadline(SLOW)));
            let subject = exec.to_owned();
            return started.map_err(|cause| EngineError { operation: "start exec", subject, cause });
        }
        let options =
            StartExecOptions { detach: false, tty: terminal == ExecTerminal::Yes, output_capacity: Some(CHUNK) };
        let call = |docker: bollard::Docker| async move { docker.start_exec(exec, Some(options)).await };
        let started = self.connection.call(("start exec", exec), SLOW, call).await?;
        let subject = exec.to_owned();
        let failed = move |cause| EngineError { operation: "attach to exec", subject: subject.clone(), cause };
        let StartExecResults::Attached { output, input } = started else {
            return Err(failed(Cause::Unusable("the engine did not attach".into())));
        };
        let address = self.address().to_owned();
        let output = output.map(move |piece| match piece {
            Ok(LogOutput::StdErr { message }) => Ok(ExecOutput::Stderr(message)),
            Ok(LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message }) => {
                Ok(ExecOutput::Stdout(message))
            }
            Err(error) => Err(failed(error::cause(error, &address))),
        });
        Ok(ExecStream { output: Box::pin(output), input })
    }

    /// How a command stands.
    pub async fn inspect_exec(&self, exec: &str) -> Result<ExecInspectResponse, EngineError> {
        let call = |docker: bollard::Docker| async move { docker.inspect_exec(exec).await };
        self.connection.call(("inspect exec", exec), QUICK, call).await
    }

    /// Gives a command's terminal another size, in characters.
    pub async fn resize_exec(&self, exec: &str, height: u16, width: u16) -> Result<(), EngineError> {
        let call = |docker: bollard::Docker| async move {
            docker.resize_exec(exec, ResizeExecOptions { height, width }).await
        };
        self.connection.call(("resize exec", exec), QUICK, call).await
    }
}
