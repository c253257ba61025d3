//! Commands run inside a task: many small messages, each with one field set.

use bytes::Bytes;

use super::Mirror;
use crate::{
    driver::{ExecEvent, ExecInput, ExecOutput, ExecSetup, ExitResult, TerminalSize},
    proto::drivers::{
        ExecTaskResponse, ExecTaskStreamingIoOperation as Operation, ExecTaskStreamingRequest as Request,
        ExecTaskStreamingResponse as Response, exec_task_streaming_request as request,
    },
};

impl Mirror<ExecTaskResponse> for ExecOutput {
    fn into_wire(self) -> ExecTaskResponse {
        ExecTaskResponse { stdout: self.stdout, stderr: self.stderr, result: Some(self.result.into_wire()) }
    }

    fn from_wire(message: ExecTaskResponse) -> Self {
        let result = ExitResult::from_wire(message.result.unwrap_or_default());
        Self { stdout: message.stdout, stderr: message.stderr, result }
    }
}

fn data(bytes: &Bytes) -> Operation {
    Operation { data: bytes.to_vec(), close: false }
}

fn close() -> Operation {
    Operation { data: Vec::new(), close: true }
}

impl From<ExecSetup> for Request {
    fn from(setup: ExecSetup) -> Self {
        let setup = request::Setup { task_id: setup.task_id.into(), command: setup.command, tty: setup.tty };
        Self { setup: Some(setup), ..Self::default() }
    }
}

impl From<request::Setup> for ExecSetup {
    fn from(setup: request::Setup) -> Self {
        Self { task_id: setup.task_id.into(), command: setup.command, tty: setup.tty }
    }
}

impl From<ExecInput> for Request {
    fn from(input: ExecInput) -> Self {
        match input {
            ExecInput::Heartbeat => Self::default(),
            ExecInput::Stdin(bytes) => Self { stdin: Some(data(&bytes)), ..Self::default() },
            ExecInput::StdinClosed => Self { stdin: Some(close()), ..Self::default() },
            ExecInput::Resize(TerminalSize { height, width }) => {
                let size = request::TerminalSize { height: height.into(), width: width.into() };
                Self { tty_size: Some(size), ..Self::default() }
            }
        }
    }
}

/// What a message asks for, in order. One with nothing set is a heartbeat; one with no bytes in it is not.
pub(crate) fn inputs(message: Request) -> Vec<ExecInput> {
    if message == Request::default() {
        return vec![ExecInput::Heartbeat];
    }
    let mut inputs = Vec::new();
    if let Some(size) = message.tty_size {
        let cells = |count: i32| u16::try_from(count.max(0)).unwrap_or(u16::MAX);
        inputs.push(ExecInput::Resize(TerminalSize { height: cells(size.height), width: cells(size.width) }));
    }
    if let Some(stdin) = message.stdin {
        if !stdin.data.is_empty() || !stdin.close {
            inputs.push(ExecInput::Stdin(stdin.data.into()));
        }
        if stdin.close {
            inputs.push(ExecInput::StdinClosed);
        }
    }
    inputs
}

impl From<ExecEvent> for Response {
    fn from(event: ExecEvent) -> Self {
        match event {
            ExecEvent::Stdout(bytes) => Self { stdout: Some(data(&bytes)), ..Self::default() },
            ExecEvent::Stderr(bytes) => Self { stderr: Some(data(&bytes)), ..Self::default() },
            ExecEvent::StdoutClosed => Self { stdout: Some(close()), ..Self::default() },
            ExecEvent::StderrClosed => Self { stderr: Some(close()), ..Self::default() },
            ExecEvent::Exited(result) => Self { exited: true, result: Some(result.into_wire()), ..Self::default() },
        }
    }
}

/// The events of a message, in order.
pub(crate) fn events(message: Response) -> Vec<ExecEvent> {
    let mut events = Vec::new();
    let mut stream = |operation: Option<Operation>, data: fn(Bytes) -> ExecEvent, closed: ExecEvent| {
        let Some(operation) = operation else { return };
        if !operation.data.is_empty() {
            events.push(data(operation.data.into()));
        }
        if operation.close {
            events.push(closed);
        }
    };
    stream(message.stdout, ExecEvent::Stdout, ExecEvent::StdoutClosed);
    stream(message.stderr, ExecEvent::Stderr, ExecEvent::StderrClosed);
    if message.exited {
        events.push(ExecEvent::Exited(ExitResult::from_wire(message.result.unwrap_or_default())));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_nothing_set_is_a_heartbeat_and_one_without_bytes_is_input() {
        let empty = Request { stdin: Some(Operation::default()), ..Request::default() };

        assert_eq!(inputs(Request::default()), [ExecInput::Heartbeat]);
        assert_eq!(inputs(ExecInput::Heartbeat.into()), [ExecInput::Heartbeat]);
        assert_eq!(inputs(empty), [ExecInput::Stdin(Bytes::new())]);
        assert_eq!(inputs(ExecInput::StdinClosed.into()), [ExecInput::StdinClosed]);
    }
}
