//! A command with its streams attached.
//!
//! ```text
//! created -> attached -> output at its end -> ended
//!                     -> caller gone -> killed
//! ```

use futures_util::StreamExt;
use nomad_plugin::driver::{BoxStream, DriverError, ExecEvent, ExecInput, ExecSetup, TerminalSize};
use tokio::{io::AsyncWriteExt, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{attach, create, ended, failed, kill};
use crate::{
    background::Finishing,
    engine::{Engine, ExecOutput, ExecStream, ExecTerminal},
};

/// How many pieces of output may wait for a slow caller.
const WAITING: usize = 16;

/// Ctrl-D.
const END_OF_INPUT: u8 = 4;

type Event = Result<ExecEvent, DriverError>;

/// Runs a command. The answer's last item is the command's end; a caller that drops it has the command killed.
pub async fn run_streaming(
    engine: &Engine,
    finishing: &Finishing,
    container: &str,
    setup: ExecSetup,
    input: BoxStream<ExecInput>,
) -> Result<BoxStream<Event>, DriverError> {
    if setup.command.is_empty() {
        return Err(DriverError::new("command is required but was empty"));
    }
    let terminal = if setup.tty { ExecTerminal::Yes } else { ExecTerminal::No };
    let exec = create(engine, container, setup.command, true, terminal).await?;
    let ExecStream { output, input: stdin } = attach(engine, &exec, terminal).await?;

    let (events, receiver) = mpsc::channel(WAITING);
    let engine = engine.clone();
    finishing.spawn(async move {
        tokio::select! {
            () = read(&engine, &exec, output, &events) => {}
            () = feed(&engine, &exec, terminal, input, stdin) => {}
            () = events.closed() => kill(&engine, &exec).await,
        }
    });
    Ok(ReceiverStream::new(receiver).boxed())
}

async fn read(
    engine: &Engine,
    exec: &str,
    mut output: impl StreamExt<Item = Result<ExecOutput, crate::engine::EngineError>> + Unpin,
    events: &mpsc::Sender<Event>,
) {
    while let Some(piece) = output.next().await {
        let event = match piece {
            Ok(ExecOutput::Stdout(bytes)) => Ok(ExecEvent::Stdout(bytes)),
            Ok(ExecOutput::Stderr(bytes)) => Ok(ExecEvent::Stderr(bytes)),
            Err(error) => Err(failed("attach to", &error)),
        };
        let broken = event.is_err();
        if events.send(event).await.is_err() || broken {
            return;
        }
    }
    let last = match ended(engine, exec).await {
        Ok(result) => vec![Ok(ExecEvent::StdoutClosed), Ok(ExecEvent::StderrClosed), Ok(ExecEvent::Exited(result))],
        Err(error) => vec![Err(error)],
    };
    for event in last {
        let _caller_gone = events.send(event).await;
    }
}

/// Passes input on. The input's end without a close says nothing: hosts leave it open for ever.
async fn feed(
    engine: &Engine,
    exec: &str,
    terminal: ExecTerminal,
    mut input: BoxStream<ExecInput>,
    stdin: impl tokio::io::AsyncWrite,
) {
    let mut stdin = std::pin::pin!(stdin);
    let mut in_a_line = false;
    while let Some(input) = input.next().await {
        let passed_on = match input {
            ExecInput::Stdin(bytes) => {
                in_a_line = bytes.last().map_or(in_a_line, |last| *last != b'\n');
                async {
                    stdin.write_all(&bytes).await?;
                    stdin.flush().await
                }
                .await
            }
            // The engine lets go of a terminal whose input is closed, output and all. The end of input is a key there,
            // which in the midst of a line ends the line only.
            ExecInput::StdinClosed if terminal == ExecTerminal::Yes => {
                let keys = if in_a_line { [END_OF_INPUT; 2].as_slice() } else { &[END_OF_INPUT] };
                stdin.write_all(keys).await
            }
            ExecInput::StdinClosed => stdin.shutdown().await,
            ExecInput::Resize(TerminalSize { height, width }) => {
                if terminal == ExecTerminal::Yes
                    && let Err(error) = engine.resize_exec(exec, height, width).await
                {
                    tracing::debug!(%error, "the terminal keeps its size");
                }
                Ok(())
            }
        };
        if let Err(error) = passed_on {
            // The command does not read; its end tells the caller the rest.
            tracing::debug!(%error, "the command takes no more input");
        }
    }
    // The stream must stay open: closing it would end the command's input.
    std::future::pending::<()>().await;
}
