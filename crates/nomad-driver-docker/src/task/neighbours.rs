//! The other tasks of an allocation: what the running ones can write to, and the turns in which they start.
//!
//! If sources are passed to the engine by name, a task that can write above a source can put a link in its place at any time.
//! So such a source is rejected while that task is running. A task holds its turn from the check until the engine has started
//! it: no other task starts meanwhile.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use nomad_plugin::{
    driver::{DriverError, TaskConfig},
    id::AllocId,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{labels::ALLOC_ID, names::container_name};
use engine::{Engine, ListedContainer};

/// The turns of all allocations.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<AllocId, Weak<Semaphore>>>>);

/// A task's turn to start. Dropping it passes the turn on.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// Waits until no other task of the allocation is being started.
    pub(super) async fn take(&self, alloc: &AllocId) -> Turn {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turns| turns.strong_count() > 0);
            let known = all.get(alloc).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turns = Arc::new(Semaphore::new(1));
                all.insert(alloc.clone(), Arc::downgrade(&turns));
                turns
            })
        };
        match turns.acquire_owned().await {
            Ok(permit) => Turn { _permit: permit },
            Err(_) => unreachable!("nobody closes it"),
        }
    }
}

/// The paths that other running tasks of the allocation can write to, from their mounts in the engine.
pub(super) async fn writable(engine: &Engine, task: &TaskConfig) -> Result<Vec<PathBuf>, DriverError> {
    let found = engine.containers_with_label(ALLOC_ID).await.map_err(|error| {
        let message = format!("failed to look for other tasks of the allocation: {error}");
        DriverError::recoverable_or_unsaid(error.is_transient(), message)
    })?;
    Ok(found.iter().filter(|found| is_neighbour(found, task)).flat_map(|found| written(found, task)).collect())
}

fn is_neighbour(found: &ListedContainer, task: &TaskConfig) -> bool {
    let is_own = found.names.contains(&container_name(task));
    found.is_running() && !is_own && found.labels.get(ALLOC_ID).is_some_and(|alloc| alloc == task.alloc_id.as_str())
}

fn written(found: &ListedContainer, task: &TaskConfig) -> Vec<PathBuf> {
    let sources = found.mounts.iter().filter(|mount| mount.is_writable).filter_map(|mount| mount.source.as_deref());
    sources.filter(|source| source.starts_with(&task.alloc_dir)).map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use engine::{ListedState, MountPoint};

    fn found(name: &str, alloc: &str, state: ListedState) -> ListedContainer {
        let mount = |source: &str, is_writable| MountPoint {
            source: Some(source.into()),
            is_writable,
            ..MountPoint::default()
        };
        ListedContainer {
            names: vec![format!("{name}-{alloc}")],
            labels: [(ALLOC_ID.to_owned(), alloc.to_owned())].into(),
            state: Some(state),
            mounts: vec![
                mount("/allocs/a1/alloc", false),
                mount("/allocs/a1/alloc/data", true),
                mount("/srv", true),
                mount("/allocs/a1/other/local", true),
            ],
            ..ListedContainer::default()
        }
    }

    #[test]
    fn what_a_running_task_of_the_allocation_has_mounted_writable_is_known() {
        let task = TaskConfig {
            name: "web".into(),
            alloc_id: "a1".into(),
            alloc_dir: "/allocs/a1".into(),
            ..TaskConfig::default()
        };
        let other = found("other", "a1", ListedState::Running);

        assert!(is_neighbour(&other, &task));
        assert_eq!(written(&other, &task), ["/allocs/a1/alloc/data", "/allocs/a1/other/local"].map(PathBuf::from));
        for (name, alloc, state) in [
            ("web", "a1", ListedState::Running),
            ("other", "a2", ListedState::Running),
            ("other", "a1", ListedState::Exited),
        ] {
            assert!(!is_neighbour(&found(name, alloc, state), &task), "{name} {alloc} {state:?}");
        }
    }

    #[tokio::test]
    async fn tasks_of_one_allocation_start_one_after_another() {
        let turns = Turns::default();
        let (one, other) = (AllocId::from("a1"), AllocId::from("a2"));

        let first = turns.take(&one).await;
        let mut second = Box::pin(turns.take(&one));
        assert!(second.as_mut().now_or_never().is_none());
        let _of_another = turns.take(&other).await;
        drop(first);

        assert!(second.now_or_never().is_some());
        assert_eq!(turns.0.lock().unwrap().len(), 2);
    }
}
