//! The only place that spawns: the caller that starts work holds the handle that stops it.
//!
//! A panic in spawned work is logged where panics are logged. Work that others depend on is then restarted.

mod backoff;

use std::{future::Future, io, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

pub use self::backoff::Backoff;

/// The first and the longest pause before work that panicked is restarted.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Work that runs in the background until the owner drops this.
#[derive(Debug)]
#[must_use = "dropping it stops the work"]
pub struct Background(JoinHandle<()>);

impl Background {
    /// Starts the work.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one home of spawning")]
        Self(tokio::spawn(work))
    }

    /// Starts work that runs as long as it has an owner: it is restarted if it panics.
    pub fn persevere<W>(what: &'static str, work: impl FnMut() -> W + Send + 'static) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        Self::spawn(persevere(what, work))
    }

    /// Stops the work and waits until it has ended.
    pub async fn stopped(self) {
        self.0.abort();
        self.ended().await;
    }

    /// Waits until the work ends by itself.
    pub async fn ended(mut self) {
        let _cancelled_or_done = (&mut self.0).await;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs work to completion. If it panics, it is restarted after a growing pause.
pub async fn persevere<T, W: Future<Output = T>>(what: &'static str, mut work: impl FnMut() -> W) -> T {
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    loop {
        let began = Instant::now();
        if let Ok(done) = AssertUnwindSafe(work()).catch_unwind().await {
            return done;
        }
        if began.elapsed() > PAUSE.1 {
            backoff.reset();
        }
        let pause = backoff.pause();
        tracing::error!(?pause, "{what} panicked; starting it again");
        sleep(pause).await;
    }
}

/// The maximum number of [`apart`] threads.
const THREADS: usize = 32;

/// Runs file work that may block forever, for example on a hung file system, on its own thread. If it misses its deadline, the
/// thread is abandoned. The runtime would wait for its own threads at shutdown.
pub async fn apart<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    static FREE: Semaphore = Semaphore::const_new(THREADS);
    let done = async {
        let permit = FREE.acquire().await.map_err(io::Error::other)?;
        let (done, answer) = oneshot::channel();
        let thread = move || {
            let _nobody_waits = done.send(work());
            drop(permit);
        };
        std::thread::Builder::new().name("files".to_owned()).spawn(thread)?;
        answer.await.map_err(io::Error::other)?
    };
    let late = |_elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "the file system does not answer"));
    timeout(patience, done).await.unwrap_or_else(late)
}

/// Work that runs to completion even if its starter is dropped, such as an undo. It ends with the process.
#[derive(Clone, Debug, Default)]
pub struct Cleanup(TaskTracker);

impl Cleanup {
    /// Starts the work.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "the one home of work that outlives its starter")]
        let _tracked = self.0.spawn(work);
    }

    /// Starts the work and waits for its end, but no longer than `patience`; it continues afterwards.
    pub async fn run(&self, patience: Duration, work: impl Future<Output = ()> + Send + 'static) {
        let (done, ended) = oneshot::channel::<()>();
        self.spawn(async move {
            work.await;
            drop(done);
        });
        let _late_or_done = timeout(patience, ended).await;
    }

    /// Waits for all started work.
    pub async fn finished(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_is_begun_again_until_it_is_done() {
        let mut beginnings = Vec::new();
        let began = Instant::now();

        let done = persevere("counting", || {
            beginnings.push(began.elapsed().as_secs());
            let count = beginnings.len();
            async move {
                assert!(count > 8, "not yet");
                count
            }
        });

        assert_eq!(done.await, 9);
        assert_eq!(beginnings, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    }

    #[tokio::test]
    async fn work_apart_that_blocks_is_left_to_itself() {
        let (held, holds) = std::sync::mpsc::channel::<()>();

        let blocked = apart(Duration::from_millis(20), move || Ok(holds.recv().is_ok())).await;
        let other = apart(Duration::from_secs(20), || Ok(7)).await;
        let panicked = apart(Duration::from_secs(20), || -> io::Result<()> { panic!("no") }).await;

        assert_eq!(blocked.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(other.unwrap(), 7);
        assert!(panicked.is_err());
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_went_well_for_a_while_is_begun_again_soon() {
        let mut beginnings = Vec::new();
        let began = Instant::now();

        persevere("working", || {
            beginnings.push(began.elapsed().as_secs());
            let count = beginnings.len();
            async move {
                if count == 4 {
                    return;
                }
                sleep(Duration::from_secs(if count == 3 { 100 } else { 0 })).await;
                panic!("not yet");
            }
        })
        .await;

        assert_eq!(beginnings, [0, 1, 3, 104]);
    }

    #[tokio::test(start_paused = true)]
    async fn work_beside_its_owner_outlives_a_panic_and_not_its_owner() {
        let (begun, mut beginnings) = mpsc::unbounded_channel();
        let mut count = 0;
        let work = Background::persevere("waiting", move || {
            count += 1;
            let (first, held) = (count == 1, begun.clone());
            async move {
                held.send(()).unwrap();
                assert!(!first, "the first time");
                pending::<()>().await;
            }
        });

        beginnings.recv().await.unwrap();
        beginnings.recv().await.unwrap();
        drop(work);

        while beginnings.recv().await.is_some() {}
    }
}
