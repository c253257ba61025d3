//! The engine's background work.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// The engine's background tasks; dropping it aborts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        #[expect(clippy::disallowed_methods, reason = "the one home of spawning")]
        tasks.spawn(work);
    }

    pub(crate) fn abort(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}
