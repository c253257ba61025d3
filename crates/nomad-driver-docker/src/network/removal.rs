//! The removal of a network that is in progress in the background, as its callers see it.

use std::{sync::Arc, time::Duration};

use nomad_plugin::driver::DriverError;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::failed;
use engine::EngineError;

/// How long a caller waits for its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the last attempt failed; `None` before that.
pub(super) type Failure = Option<DriverError>;

/// A removal in the background. Clones are the same one.
#[derive(Clone)]
pub(super) struct Removal {
    failure: watch::Receiver<Failure>,
    requests: Arc<Notify>,
}

impl Removal {
    /// A removal, and where its failures are put. Dropping that means that nothing is left to remove.
    pub(super) fn new() -> (Self, watch::Sender<Failure>) {
        let (failures, failure) = watch::channel(None);
        (Self { failure, requests: Arc::default() }, failures)
    }

    /// Whether these are clones.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.requests, &other.requests)
    }

    /// Requests an attempt now.
    pub(super) fn request(&self) {
        self.requests.notify_one();
    }

    /// Waits for the next request, at most so long.
    pub(super) async fn requested_within(&self, pause: Duration) {
        let _requested_or_time = timeout(pause, self.requests.notified()).await;
    }

    /// Waits until the network is removed. After a minute, reports why it is not yet.
    pub(super) async fn ended(mut self) -> Result<(), DriverError> {
        let is_closed = timeout(PATIENCE, async { while self.failure.changed().await.is_ok() {} }).await;
        if is_closed.is_ok() {
            return Ok(());
        }
        let late = || failed("failed to remove pause container", &EngineError::Deadline(PATIENCE));
        let error = self.failure.borrow().clone().unwrap_or_else(late);
        let message = format!("{}; the removal continues in the background", error.message);
        Err(DriverError { message, ..error })
    }
}
