//! One container's log collection, as its owner holds it.

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::watch, time::Instant};

use super::report::{LogReport, LogSummary, Report};
use background::Background;

/// How long the end of a log waits while nothing comes and nothing is read.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for the rest of one piece, however steadily bytes come.
const PIECE: Duration = Duration::from_secs(60);

/// One container's log collection. Dropping it stops the collection and leaves the position for the next process.
#[must_use = "dropping it stops the collection"]
pub struct LogTask {
    work: Background,
    exited: watch::Sender<bool>,
    progress: watch::Receiver<Progress>,
    report: Report,
    release: BoxFuture<'static, ()>,
    patience: Duration,
}

/// What the work reports to its owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) summary: LogSummary,
    pub(super) ended: bool,
    awaited: Awaited,
}

/// Who has to act before the collection can continue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The engine: more of the log is to come.
    #[default]
    Engine,
    /// The pipes' reader: they are full.
    Reader,
}

/// The work's side of a [`LogTask`].
pub(super) struct Control {
    exited: watch::Receiver<bool>,
    progress: watch::Sender<Progress>,
    report: Report,
}

impl Control {
    /// Whether the container has exited: its log is then complete.
    pub(super) fn has_exited(&self) -> bool {
        *self.exited.borrow()
    }

    /// Waits for the exit.
    pub(super) async fn exited(&self) {
        if self.exited.clone().wait_for(|exited| *exited).await.is_err() {
            // The owner was dropped, and this work will be, too.
            std::future::pending::<()>().await;
        }
    }

    /// Notes that something moved: bytes came from the engine, or the reader read some.
    pub(super) fn moved(&self) {
        self.progress.send_modify(|_| {});
    }

    /// Notes who is waited for from now on.
    pub(super) fn awaits(&self, awaited: Awaited) {
        self.progress.send_if_modified(|progress| {
            progress.awaited = awaited;
            false
        });
    }

    /// Counts delivered bytes.
    pub(super) fn delivered(&self, bytes: usize) {
        self.progress.send_modify(|progress| progress.summary.bytes += bytes as u64);
    }

    /// Reports a loss.
    pub(super) fn report(&self, report: LogReport) {
        if let LogReport::Missed { files } | LogReport::GivenUp { files, .. } = report {
            self.progress.send_modify(|progress| progress.summary.lost_files += files);
        }
        (self.report)(report);
    }

    /// Records the final state: whether everything was delivered.
    pub(super) fn end(&self, complete: bool) {
        self.progress.send_modify(|progress| {
            progress.summary.complete = complete;
            progress.ended = true;
        });
    }
}

impl LogTask {
    /// Starts the work with its side of the control; `release` runs when the log is complete.
    pub(super) fn spawn<Work>(
        report: Report,
        release: impl Future<Output = ()> + Send + 'static,
        work: impl FnOnce(Control) -> Work,
    ) -> Self
    where
        Work: Future<Output = ()> + Send + 'static,
    {
        let (exited, exited_receiver) = watch::channel(false);
        let (progress_sender, progress) = watch::channel(Progress::default());
        let control = Control { exited: exited_receiver, progress: progress_sender, report: report.clone() };
        let (work, release) = (Background::spawn(work(control)), release.boxed());
        Self { work, exited, progress, report, release, patience: PATIENCE }
    }

    /// Sets how long [`finish`](Self::finish) waits while nothing moves; the default is 10 s.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What was collected so far.
    pub fn summary(&self) -> LogSummary {
        self.progress.borrow().summary.clone()
    }

    /// Must be called when the container has exited, before it is removed: everything is read to the end and delivered. If
    /// for the patience's time nothing comes from the engine and the reader reads nothing, the rest is given up, and a report
    /// names the one that was waited for. The same if a single piece takes longer than a minute to come.
    pub async fn finish(mut self) -> LogSummary {
        self.exited.send_replace(true);
        let (mut delivered, mut since) = (self.summary().bytes, Instant::now());
        loop {
            let (ended, bytes, awaited) = {
                let progress = self.progress.borrow_and_update();
                (progress.ended, progress.summary.bytes, progress.awaited)
            };
            if ended {
                break;
            }
            if bytes != delivered || awaited == Awaited::Reader {
                (delivered, since) = (bytes, Instant::now());
            }
            let deadline = (Instant::now() + self.patience).min(since + PIECE);
            match tokio::time::timeout_at(deadline, self.progress.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_work_has_ended)) => break,
                Err(_elapsed) => {
                    self.report_given_up(since);
                    break;
                }
            }
        }
        let summary = self.summary();
        // Our own ends are closed first: the holder's is the last, and keeps what is in a pipe without a reader.
        self.work.stopped().await;
        self.release.await;
        summary
    }

    fn report_given_up(&self, since: Instant) {
        let waited = self.patience;
        (self.report)(match self.progress.borrow().awaited {
            Awaited::Reader => LogReport::ReaderAway { waited },
            Awaited::Engine => LogReport::EngineSilent { waited: waited.max(since.elapsed()) },
        });
    }
}
