//! The one place that spawns: whoever starts work holds what stops it.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Work that goes on beside its owner, and stops when the owner drops this.
#[derive(Debug)]
#[must_use = "dropping it stops the work"]
pub struct Background(JoinHandle<()>);

impl Background {
    /// Starts the work.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one home of spawning")]
        Self(tokio::spawn(work))
    }

    /// Waits for the work's own end.
    pub async fn ended(mut self) {
        let _cancelled_or_done = (&mut self.0).await;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Work that comes to its own end though its starter went away, such as an undo. It ends with the process.
#[derive(Clone, Debug, Default)]
pub struct Finishing(TaskTracker);

impl Finishing {
    /// Starts the work.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let _tracked = self.0.spawn(work);
    }

    /// Waits for all work that was started.
    pub async fn finished(&self) {
        self.0.close();
        self.0.wait().await;
    }
}
