//! A process's log services, started with its first task.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use super::{
    Collector,
    view::{self, Views},
};
use background::apart;

/// How long the removal of leftovers may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process's log services: it collects logs, and shows them to the tasks of their allocations. Each service starts with the
/// first task.
#[derive(Clone, Default)]
pub struct LogCollector {
    collector: Arc<OnceLock<Collector>>,
    views: Arc<OnceLock<Views>>,
    /// Held while one of them starts. If a start fails, the next task retries it.
    starting: Arc<Mutex<()>>,
}

impl LogCollector {
    /// The collector, with its records in a state directory.
    pub fn collector(&self, state_dir: &Path) -> io::Result<&Collector> {
        self.started(&self.collector, || Collector::start(state_dir))
    }

    /// Closes the pipes of a container whose log is not collected to the end.
    pub async fn release(&self, container: &str) {
        if let Some(collector) = self.collector.get() {
            collector.release(container).await;
        }
    }

    /// Keeps the tasks' view of an allocation's logs up to date.
    pub async fn show(&self, alloc_dir: &Path) {
        let views = match self.started(&self.views, Views::start) {
            Ok(views) => views,
            Err(error) => return tracing::warn!(%error, "tasks do not see new log files"),
        };
        if let Err(error) = views.show(alloc_dir).await {
            tracing::warn!(alloc_dir = %alloc_dir.display(), %error, "tasks do not see new log files");
        }
    }

    /// Removes the tasks' view of an allocation's logs.
    pub async fn hide(&self, alloc_dir: &Path) {
        if let Some(views) = self.views.get() {
            views.hide(alloc_dir).await;
        }
    }

    /// Removes the views of finished allocations, which an earlier process left in the directory of allocations.
    pub async fn remove_left_views(&self, allocs: PathBuf) {
        let _late = apart(PATIENCE, move || {
            view::remove_left(&allocs);
            Ok(())
        })
        .await;
    }

    /// Starts a service once.
    fn started<'a, T>(&self, place: &'a OnceLock<T>, start: impl FnOnce() -> io::Result<T>) -> io::Result<&'a T> {
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        match place.get() {
            Some(started) => Ok(started),
            None => start().map(|started| place.get_or_init(|| started)),
        }
    }
}
