//! This process's connection to the node's log holder, which keeps the writing ends of tasks' pipes open across driver
//! restarts.
//!
//! ```text
//! away -> connected -> (it dies) away -> (another is started, and given what the dead one held) connected
//! ```
//! Without a holder, logs are still collected; only a reader that is there while no driver is sees end of file.

mod process;

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use log_holder::{End, Reply, Request};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use self::process::{Connection, connect};
use super::sink::Stream;
use background::Background;

/// The response timeout; a response takes microseconds.
const ANSWER: Duration = Duration::from_secs(2);
/// The pause before another attempt to start a holder.
const PAUSE: Duration = Duration::from_secs(10);
/// The maximum number of queued requests. A task has a handful.
const WAITING: usize = 64;

/// The requesting side.
#[derive(Clone, Debug)]
pub(super) struct Holder(mpsc::Sender<Ask>);

/// The connection's background work. Dropping it leaves the holder with what it holds.
pub(super) struct HolderWork {
    _work: Background,
}

#[derive(Debug)]
enum Ask {
    Hold(End, OwnedFd, oneshot::Sender<()>),
    Take(End, oneshot::Sender<OwnedFd>),
    Release(End),
}

impl Holder {
    /// Must be called inside the runtime. No holder is started before there is something to hold.
    pub(super) fn start(state_dir: &Path) -> (Self, HolderWork) {
        let (sender, asks) = mpsc::channel(WAITING);
        let work = Work { state_dir: state_dir.to_owned(), connection: None, held: HashMap::new(), not_before: None };
        (Self(sender), HolderWork { _work: Background::spawn(work.run(asks)) })
    }

    /// Has the holder hold a pipe's writing end, replacing one for the same stream of the container.
    pub(super) async fn hold(&self, container: &str, stream: Stream, end: File) {
        let (done, answer) = oneshot::channel();
        if self.0.send(Ask::Hold(name(container, stream), end.into(), done)).await.is_ok() {
            let _without_a_holder = answer.await;
        }
    }

    /// The writing end held for a container's stream. Whatever happened to the driver, it is the same pipe, with all unread
    /// data.
    pub(super) async fn take(&self, container: &str, stream: Stream) -> Option<File> {
        let (given, answer) = oneshot::channel();
        self.0.send(Ask::Take(name(container, stream), given)).await.ok()?;
        answer.await.ok().map(File::from)
    }

    /// Releases a container's ends: its log is complete. Data in a pipe without a reader is held a while longer.
    pub(super) async fn release(&self, container: &str) {
        for stream in Stream::BOTH {
            let _no_holder = self.0.send(Ask::Release(name(container, stream))).await;
        }
    }
}

fn name(container: &str, stream: Stream) -> End {
    End::new(container, u8::from(stream == Stream::Stderr))
}

struct Work {
    state_dir: PathBuf,
    connection: Option<Connection>,
    /// What a new holder is given.
    held: HashMap<End, OwnedFd>,
    /// The earliest time to start the next holder, after a failed attempt.
    not_before: Option<Instant>,
}

impl Work {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => self.serve(ask).await,
                    None => return,
                },
                () = removed(self.connection.as_ref()) => {
                    self.connection = None;
                    if !self.held.is_empty() {
                        tracing::warn!("the log holder died; starting another one");
                        self.connected().await;
                    }
                }
                () = sleep_until(self.not_before.unwrap_or_else(Instant::now)), if self.not_before.is_some() => {
                    self.not_before = None;
                    self.connected().await;
                }
            }
        }
    }

    async fn serve(&mut self, ask: Ask) {
        match ask {
            Ask::Hold(end, pipe, done) => {
                self.held.insert(end, pipe);
                if self.connection.is_some() {
                    self.hold(end).await;
                } else {
                    // A holder that is found or started receives all of them.
                    let _without_a_holder = self.connected().await;
                }
                let _nobody_waits = done.send(());
            }
            Ask::Take(end, given) => {
                if self.connected().await
                    && let Ok((Reply::Done, Some(pipe))) = self.exchange(Request::Take(end)).await
                {
                    let _nobody_waits = given.send(pipe);
                }
            }
            Ask::Release(end) => {
                if self.held.remove(&end).is_some() && self.connection.is_some() {
                    let _closed_with_its_holder = self.exchange(Request::Release(end)).await;
                }
                if self.held.is_empty() {
                    // The holder exits by itself when nobody has anything for it.
                    self.connection = None;
                    self.not_before = None;
                }
            }
        }
    }

    /// Whether there is a holder; a new one receives everything to be held.
    async fn connected(&mut self) -> bool {
        if self.connection.is_some() {
            return true;
        }
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return false;
        }
        match connect(&self.state_dir).await {
            Ok(connection) => {
                self.connection = Some(connection);
                self.not_before = None;
                let all: Vec<End> = self.held.keys().copied().collect();
                for end in all {
                    self.hold(end).await;
                }
            }
            Err(error) => {
                self.not_before = Some(Instant::now() + PAUSE);
                let state_dir = self.state_dir.display();
                tracing::warn!(%state_dir, %error, "failed to start the log holder; logs stop if the driver dies");
            }
        }
        self.connection.is_some()
    }

    async fn hold(&mut self, end: End) {
        match self.exchange(Request::Hold(end)).await {
            Ok((Reply::Done, _)) => {}
            Ok((reply, _)) => tracing::warn!(?reply, "the log holder failed to hold a pipe"),
            Err(error) => tracing::warn!(%error, "the log holder does not answer"),
        }
    }

    /// Sends one request and awaits its reply; a holder that does not answer is abandoned.
    async fn exchange(&mut self, request: Request) -> io::Result<(Reply, Option<OwnedFd>)> {
        let Some(connection) = &self.connection else { return Err(io::ErrorKind::NotConnected.into()) };
        let pipe = match request {
            Request::Hold(end) => self.held.get(&end).map(AsFd::as_fd),
            Request::Take(_) | Request::Release(_) => None,
        };
        let answered = timeout(ANSWER, connection.exchange(request, pipe)).await;
        let answered = answered.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = &answered {
            self.connection = None;
            // A dead holder is replaced at once; a hung one is retried later.
            let pause = if error.kind() == io::ErrorKind::TimedOut { PAUSE } else { Duration::ZERO };
            self.not_before = Some(Instant::now() + pause);
        }
        answered
    }
}

async fn removed(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.removed().await,
        None => std::future::pending().await,
    }
}
