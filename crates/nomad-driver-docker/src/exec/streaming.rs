//! Runs a command with its streams attached.
//!
//! ```text
//! created -> attached -> output at its end -> ended
//!                     -> caller or its client disconnected -> killed
//! ```
//!
//! A caller that disconnects ends the call. If an agent's client disconnects, no message says so: only its heartbeats stop.

use std::time::Duration;

use futures_util::StreamExt;
use nomad_plugin::driver::{BoxStream, DriverError, ExecEvent, ExecInput, ExecSetup, TerminalSize};
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{attach, create, ended, failed, kill};
use background::Cleanup;
use engine::{Engine, ExecOutput, ExecStream, ExecTerminal};

/// How many pieces of output may wait for a slow caller.
const WAITING: usize = 16;

/// How long a client that has sent heartbeats may be silent before it counts as disconnected; agents send one every 10 s.
const SILENCE: Duration = Duration::from_secs(30);

/// Ctrl-D.
const END_OF_INPUT: u8 = 4;

type Event = Result<ExecEvent, DriverError>;

/// Runs a command. The last item of the response is the command's end. If the caller drops the response, or its heartbeats
/// stop, the command is killed with everything that it started.
pub(crate) async fn run_streaming(
    engine: &Engine,
    cleanup: &Cleanup,
    container: &str,
    setup: ExecSetup,
    input: BoxStream<ExecInput>,
) -> Result<BoxStream<Event>, DriverError> {
    if setup.command.is_empty() {
        return Err(DriverError::new("command is required but was empty"));
    }
    let terminal = if setup.tty { ExecTerminal::Yes } else { ExecTerminal::No };
    let exec = create(engine, container, setup.command, true, terminal).await?;

    let (events, receiver) = mpsc::channel(WAITING);
    let (attached, answer) = oneshot::channel();
    let (engine, container) = (engine.clone(), container.to_owned());
    // A caller that disconnects while the command is being started leaves no command behind.
    cleanup.spawn(async move {
        let ExecStream { output, input: stdin } = match attach(&engine, &exec, terminal).await {
            Ok(stream) => stream,
            Err(error) => {
                let _caller_left = attached.send(Err(error));
                // It may be running, whatever went wrong.
                return kill(&engine, &container, &exec).await;
            }
        };
        let _caller_left = attached.send(Ok(()));
        let (taken, inputs) = mpsc::channel(1);
        let silent = tokio::select! {
            in_order = read(&engine, &exec, output, &events) => {
                if in_order {
                    return;
                }
                false
            }
            () = feed(&engine, &exec, terminal, inputs, stdin) => return,
            () = events.closed() => false,
            () = receive(input, taken) => true,
        };
        kill(&engine, &container, &exec).await;
        if silent {
            tracing::info!(container, exec, "killed a command: its caller has disconnected");
            let error = format!("nothing came from the command's client for {} s: it was killed", SILENCE.as_secs());
            let _full_or_closed = events.try_send(Err(DriverError::new(error)));
        }
    });
    answer.await.map_err(|_| DriverError::new("the command was given up while it was started"))??;
    Ok(ReceiverStream::new(receiver).boxed())
}

/// Receives the caller's input and passes on what is for the command. Ends when heartbeats have come and then nothing for
/// [`SILENCE`]. While the command does not read its input, nothing more is received, so that does not count as silence. Without
/// heartbeats, silence means nothing, and neither does the stream's end: hosts leave it open.
async fn receive(mut input: BoxStream<ExecInput>, inputs: mpsc::Sender<ExecInput>) {
    let mut beats = false;
    loop {
        let next = if beats {
            let Ok(next) = timeout(SILENCE, input.next()).await else { return };
            next
        } else {
            input.next().await
        };
        match next {
            Some(ExecInput::Heartbeat) => beats = true,
            Some(input) => {
                let _command_ended = inputs.send(input).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Passes output on. Returns whether it came to its end.
async fn read(
    engine: &Engine,
    exec: &str,
    mut output: impl StreamExt<Item = Result<ExecOutput, engine::EngineError>> + Unpin,
    events: &mpsc::Sender<Event>,
) -> bool {
    while let Some(piece) = output.next().await {
        let event = match piece {
            Ok(ExecOutput::Stdout(bytes)) => Ok(ExecEvent::Stdout(bytes)),
            Ok(ExecOutput::Stderr(bytes)) => Ok(ExecEvent::Stderr(bytes)),
            Err(error) => Err(failed("attach to", &error)),
        };
        let broken = event.is_err();
        if events.send(event).await.is_err() || broken {
            return false;
        }
    }
    let last = match ended(engine, exec).await {
        Ok(result) => vec![Ok(ExecEvent::StdoutClosed), Ok(ExecEvent::StderrClosed), Ok(ExecEvent::Exited(result))],
        Err(error) => vec![Err(error)],
    };
    for event in last {
        let _caller_left = events.send(event).await;
    }
    true
}

/// Passes input on.
async fn feed(
    engine: &Engine,
    exec: &str,
    terminal: ExecTerminal,
    mut inputs: mpsc::Receiver<ExecInput>,
    stdin: impl tokio::io::AsyncWrite,
) {
    let mut stdin = std::pin::pin!(stdin);
    let mut in_a_line = false;
    while let Some(input) = inputs.recv().await {
        let passed_on = match input {
            ExecInput::Heartbeat => Ok(()),
            ExecInput::Stdin(bytes) => {
                in_a_line = bytes.last().map_or(in_a_line, |last| *last != b'\n');
                async {
                    stdin.write_all(&bytes).await?;
                    stdin.flush().await
                }
                .await
            }
            // The engine detaches from a terminal whose input is closed, including its output. On a terminal, end of input is a
            // key, which in the middle of a line only ends the line.
            ExecInput::StdinClosed if terminal == ExecTerminal::Yes => {
                let keys = if in_a_line { [END_OF_INPUT; 2].as_slice() } else { &[END_OF_INPUT] };
                stdin.write_all(keys).await
            }
            ExecInput::StdinClosed => stdin.shutdown().await,
            ExecInput::Resize(TerminalSize { height, width }) => {
                if terminal == ExecTerminal::Yes
                    && let Err(error) = engine.resize_exec(exec, height, width).await
                {
                    tracing::debug!(%error, "failed to resize the terminal");
                }
                Ok(())
            }
        };
        if let Err(error) = passed_on {
            // The command does not read its input; its exit reports the rest to the caller.
            tracing::debug!(%error, "the command does not read its input any more");
        }
    }
    // The stream must stay open: closing it would end the command's input.
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// An item after each pause; then nothing more.
    fn inputs(after: impl IntoIterator<Item = (u64, ExecInput)> + Send + 'static) -> BoxStream<ExecInput>
    where
        <Vec<(u64, ExecInput)> as IntoIterator>::IntoIter: Send,
    {
        let timed = after.into_iter().collect::<Vec<_>>();
        let timed = stream::iter(timed).then(|(seconds, input)| sleep(Duration::from_secs(seconds)).map(|()| input));
        timed.chain(stream::pending()).boxed()
    }

    fn bytes() -> ExecInput {
        ExecInput::Stdin("x".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_whose_heartbeats_stop_was_removed_after_half_a_minute() {
        let resize = ExecInput::Resize(TerminalSize { height: 1, width: 1 });
        let (sender, mut received) = mpsc::channel(9);
        let began = Instant::now();

        // Any message is a sign of life, and it may be late.
        let input =
            inputs([(10, ExecInput::Heartbeat), (29, bytes()), (29, resize.clone()), (29, ExecInput::Heartbeat)]);
        receive(input, sender).await;

        assert_eq!(began.elapsed(), Duration::from_secs(10 + 3 * 29) + SILENCE);
        assert_eq!((received.recv().await, received.recv().await), (Some(bytes()), Some(resize)));
        assert_eq!(received.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_never_sends_heartbeats_may_be_silent() {
        let (sender, _received) = mpsc::channel(9);

        let endless = timeout(Duration::from_secs(3600), receive(inputs([(1, bytes())]), sender.clone())).await;
        let ended =
            timeout(Duration::from_secs(3600), receive(stream::iter([ExecInput::Heartbeat]).boxed(), sender)).await;

        assert!(endless.is_err(), "without heartbeats");
        assert!(ended.is_err(), "the stream's end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_does_not_read_does_not_make_its_client_silent() {
        let (sender, mut received) = mpsc::channel(1);
        let input = inputs([(0, ExecInput::Heartbeat), (1, bytes()), (1, bytes()), (1, ExecInput::Heartbeat)]);
        let mut receiving = Box::pin(receive(input, sender));
        let began = Instant::now();

        let blocked = timeout(Duration::from_secs(3600), &mut receiving).await;
        let taken = (received.recv().await, received.recv().now_or_never());
        receiving.await;

        assert!(blocked.is_err());
        assert_eq!(taken.0, Some(bytes()));
        assert_eq!(began.elapsed(), Duration::from_secs(3600) + Duration::from_secs(1) + SILENCE);
    }
}
