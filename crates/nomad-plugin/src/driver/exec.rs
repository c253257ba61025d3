//! Commands run inside a task.

use bytes::Bytes;

use super::ExitResult;
use crate::id::TaskId;

/// What a finished command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub result: ExitResult,
}

/// A command to run with its streams attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSetup {
    /// The task to run it in.
    pub task_id: TaskId,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
}

/// What the caller sends to a running command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecInput {
    /// Nothing: the caller's client is still there. Agents send it every 10 s.
    Heartbeat,
    /// Bytes for standard input, even if there are none.
    Stdin(Bytes),
    /// The end of standard input.
    StdinClosed,
    /// The terminal's new size, in characters.
    Resize(TerminalSize),
}

/// A terminal's size, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// What a running command sends back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// Bytes from standard output (all output, with a terminal).
    Stdout(Bytes),
    /// Bytes from standard error.
    Stderr(Bytes),
    /// Standard output is at its end.
    StdoutClosed,
    /// Standard error is at its end.
    StderrClosed,
    /// It ended; the last event.
    Exited(ExitResult),
}
