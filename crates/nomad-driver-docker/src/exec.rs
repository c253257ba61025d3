//! Commands run inside a task.
//!
//! The output is read to the end of its stream. Only then is the engine asked how the command ended, repeatedly as long as it
//! reports the command as neither ended nor running. So every command returns its complete output and its exit code.

mod kill;
mod streaming;

use std::{sync::OnceLock, time::Duration};

use futures_util::StreamExt;
use kill::kill;
use nomad_plugin::driver::{DriverError, ExecOutput, ExitResult};
pub(crate) use streaming::run_streaming;

use background::{Backoff, Cleanup};
use engine::{self, Engine, EngineError, ExecTerminal, persist, within};
use tail::Tail;

/// How much of each stream the response of an unattached command holds: its end. Hosts read messages of up to 4 MiB.
const KEPT: usize = 1 << 20;

/// How long the engine may take to prepare a command or to start it, if the caller has no earlier deadline.
const ANSWER: Duration = Duration::from_secs(30);
/// How long the engine may fail to say how a command ended.
const LOOK: Duration = Duration::from_secs(10);
/// How long the kill of a command is waited for; it continues afterwards.
const KILL: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Runs a command without input and returns the end of its output. A timeout of 0 means none; otherwise, the command is killed
/// at the timeout with everything that it started, and the call fails. It includes all calls to the engine.
pub(crate) async fn run(
    engine: &Engine,
    cleanup: &Cleanup,
    container: &str,
    command: Vec<String>,
    timeout: Duration,
) -> Result<ExecOutput, DriverError> {
    if command.is_empty() {
        return Err(DriverError::new("cmd is required, but was empty"));
    }
    let created = OnceLock::new();
    let running = async {
        let exec = create(engine, container, command, false, ExecTerminal::No).await?;
        output(engine, created.get_or_init(|| exec)).await
    };
    let limit = if timeout.is_zero() { Duration::MAX } else { timeout };
    let answer = tokio::time::timeout(limit, running).await;
    let Some(exec) = created.into_inner() else {
        return answer.unwrap_or_else(|_| Err(failed("create", &EngineError::Deadline(timeout))));
    };
    let answer = answer.unwrap_or_else(|_| {
        Err(DriverError::new(format!("the command did not end within {timeout:?} and was killed")))
    });
    if answer.is_err() {
        // It may be running, whatever went wrong.
        let (engine, container) = (engine.clone(), container.to_owned());
        cleanup.run(KILL, async move { kill(&engine, &container, &exec).await }).await;
    }
    answer
}

/// Runs a prepared command to its end.
async fn output(engine: &Engine, exec: &str) -> Result<ExecOutput, DriverError> {
    let mut stream = attach(engine, exec, ExecTerminal::No).await?;
    let (mut stdout, mut stderr) = (Tail::new(KEPT), Tail::new(KEPT));
    while let Some(piece) = stream.output.next().await {
        match piece.map_err(|error| failed("attach to", &error))? {
            engine::ExecOutput::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            engine::ExecOutput::Stderr(bytes) => stderr.extend_from_slice(&bytes),
        }
    }
    Ok(ExecOutput { stdout: stdout.into_vec(), stderr: stderr.into_vec(), result: ended(engine, exec).await? })
}

fn failed(verb: &str, error: &EngineError) -> DriverError {
    DriverError::new(format!("failed to {verb} exec object: {error}"))
}

async fn create(
    engine: &Engine,
    container: &str,
    command: Vec<String>,
    stdin: bool,
    terminal: ExecTerminal,
) -> Result<String, DriverError> {
    let created = within(ANSWER, engine.create_exec(container, command, stdin, terminal)).await;
    created.map_err(|error| failed("create", &error))
}

async fn attach(engine: &Engine, exec: &str, terminal: ExecTerminal) -> Result<engine::ExecStream, DriverError> {
    within(ANSWER, engine.start_exec(exec, terminal)).await.map_err(|error| failed("attach to", &error))
}

/// The result of a command whose output has ended. A command may close its output long before it exits.
async fn ended(engine: &Engine, exec: &str) -> Result<ExitResult, DriverError> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let inspected = persist(exec, LOOK, || engine.inspect_exec(exec)).await;
        let inspected = inspected.map_err(|error| failed("inspect exit code of", &error))?;
        if let Some(code) = inspected.exit_code {
            return Ok(ExitResult { exit_code: i32::try_from(code).unwrap_or(i32::MAX), ..ExitResult::default() });
        }
        backoff.wait().await;
    }
}
