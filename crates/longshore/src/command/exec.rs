//! `exec`: a command inside a task, with this terminal if asked.

use futures_util::{Stream, StreamExt, stream};
use nomad_plugin::driver::{ExecEvent, ExecInput, ExecSetup, TerminalSize};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};

use super::target::{self, Wanted};
use crate::{Failure, data_dir::DataDir, report};

/// How the command is connected to this terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    pub(super) interactive: bool,
    pub(super) tty: bool,
}

pub(super) async fn exec(
    wanted: Wanted<'_>,
    command: Vec<String>,
    terminal: Terminal,
    data: &DataDir,
) -> Result<(), Failure> {
    let job = target::job(wanted.target, data)?;
    let found = target::one(target::running(&job, wanted.task, data).await?, wanted.alloc)?;
    let driver = target::driver(&job).await?;
    let setup = ExecSetup { task_id: found.id(), command, tty: terminal.tty };
    let raw = if terminal.tty { RawMode::enter() } else { None };
    let events = driver.exec_task_streaming(setup, input(terminal)).await;
    let mut events = events.map_err(|error| Failure::Engine(error.to_string()))?;
    let mut code = None;
    while let Some(event) = events.next().await {
        match event.map_err(|error| Failure::Engine(error.to_string()))? {
            ExecEvent::Stdout(bytes) => {
                // Nobody reads any more.
                if report::bytes(&bytes).is_err() {
                    break;
                }
            }
            ExecEvent::Stderr(bytes) => {
                let _no_reader = std::io::Write::write_all(&mut std::io::stderr().lock(), &bytes);
            }
            ExecEvent::StdoutClosed | ExecEvent::StderrClosed => {}
            ExecEvent::Exited(result) => code = Some(result.exit_code),
        }
    }
    drop(raw);
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::Code(u8::try_from(code).unwrap_or(u8::MAX))),
        None => Err(Failure::Engine("the driver did not report how the command ended".to_owned())),
    }
}

/// Standard input, and the terminal's sizes.
fn input(terminal: Terminal) -> impl Stream<Item = ExecInput> + Send + 'static {
    let stdin = if terminal.interactive {
        stream::unfold(Some(tokio::io::stdin()), |stdin| async move {
            let mut stdin = stdin?;
            let mut buffer = vec![0; 16 << 10];
            match stdin.read(&mut buffer).await {
                Ok(count) if count > 0 => {
                    buffer.truncate(count);
                    Some((ExecInput::Stdin(buffer.into()), Some(stdin)))
                }
                _ => Some((ExecInput::StdinClosed, None)),
            }
        })
        .boxed()
    } else {
        stream::iter([ExecInput::StdinClosed]).boxed()
    };
    if !terminal.tty {
        return stdin;
    }
    let first = stream::iter(size());
    let changes = stream::unfold(signal(SignalKind::window_change()).ok(), |changes| async move {
        let mut changes = changes?;
        changes.recv().await?;
        Some((size(), Some(changes)))
    });
    let changes = changes.filter_map(std::future::ready);
    // Changes alone do not keep the input alive, and the input's end does not end the changes.
    first.chain(stream::select(stdin, changes)).boxed()
}

fn size() -> Option<ExecInput> {
    let size = tcgetwinsize(std::io::stdin()).ok()?;
    Some(ExecInput::Resize(TerminalSize { height: size.ws_row, width: size.ws_col }))
}

/// This terminal passes every key on, until this is dropped.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _no_terminal = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
