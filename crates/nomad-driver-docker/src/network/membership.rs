//! The networks that this process knows, and the tasks that have joined them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nomad_plugin::{driver::TaskConfig, id::AllocId};

use super::{Ledger, pause_image::PauseImage, removal::Removal};
use crate::{
    events::{EventSubject, TaskEvents},
    image::ImageLease,
};
use background::Background;

/// The networks that this process knows.
#[derive(Default)]
pub(super) struct Networks {
    by_alloc: Mutex<HashMap<AllocId, Arc<Network>>>,
    /// Where they are recorded, as of when the engine last identified itself.
    ledger: Mutex<Option<Ledger>>,
}

/// An allocation's network.
#[derive(Default)]
pub(super) struct Network {
    /// Its holder creates, repairs or removes the network.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<NetworkState>,
}

#[derive(Default)]
struct NetworkState {
    /// The lease of the pause container's image.
    lease: Option<ImageLease>,
    /// Why that image is not the operator's.
    notice: Option<String>,
    /// The tasks that have joined, by the number of their membership.
    members: HashMap<u64, EventSubject>,
    next_member: u64,
    /// The tasks whose owners were notified, each with the pause container.
    notified: HashSet<(String, String)>,
    /// Repairs the network when its pause container dies.
    supervisor: Option<Background>,
    /// Removes the network.
    removal: Option<Removal>,
}

/// A task's membership in its group's network. Dropping it leaves the network.
pub struct Membership {
    network: Arc<Network>,
    number: u64,
    /// The full id of the container whose network the task joins; empty if the task had joined before.
    pub container: String,
}

impl Networks {
    fn lock(&self) -> MutexGuard<'_, HashMap<AllocId, Arc<Network>>> {
        self.by_alloc.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, alloc: &AllocId) -> Arc<Network> {
        self.lock().entry(alloc.clone()).or_default().clone()
    }

    /// Whether a network is known.
    pub(super) fn has(&self, alloc: &AllocId) -> bool {
        self.lock().contains_key(alloc)
    }

    /// Whether none is known.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Remembers where they are recorded.
    pub(super) fn remember(&self, ledger: &Ledger) {
        *self.ledger.lock().unwrap_or_else(PoisonError::into_inner) = Some(ledger.clone());
    }

    /// Where they are recorded, even if the engine is away; `None` if it has never identified itself.
    pub(super) fn last_ledger(&self) -> Option<Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets a network, which stops its supervision.
    pub(super) fn forget(&self, alloc: &AllocId) {
        let _network = self.lock().remove(alloc);
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, NetworkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases the image of the pause container that now holds the network.
    pub(super) fn lease_image(&self, image: PauseImage) {
        let mut state = self.lock();
        state.notice = image.notice;
        state.lease = Some(image.lease);
    }

    /// Whether the image of its pause container is leased.
    pub(super) fn has_lease(&self) -> bool {
        self.lock().lease.is_some()
    }

    /// Supervises the network, unless it is already supervised.
    pub(super) fn supervise(&self, begin: impl FnOnce() -> Background) {
        self.lock().supervisor.get_or_insert_with(begin);
    }

    /// Stops supervising. Only the holder of the [turn](Self::turn) may: otherwise the supervisor may be in the middle of its
    /// own.
    pub(super) fn stop_supervising(&self) {
        self.lock().supervisor = None;
    }

    /// The removal in progress, or the one that `begin` starts.
    pub(super) fn removal(&self, begin: impl FnOnce() -> Removal) -> Removal {
        self.lock().removal.get_or_insert_with(begin).clone()
    }

    /// Whether this removal is in progress.
    pub(super) fn is_removed_by(&self, removal: &Removal) -> bool {
        self.lock().removal.as_ref().is_some_and(|current| current.is(removal))
    }

    /// Whether a removal is in progress.
    pub(super) fn is_being_removed(&self) -> bool {
        self.lock().removal.is_some()
    }

    /// Nothing is left to remove.
    pub(super) fn end_removal(&self) {
        self.lock().removal = None;
    }

    /// Adds a task as a member, with the container that it joins.
    pub(super) fn join(self: &Arc<Self>, task: &TaskConfig, container: String) -> Membership {
        let mut state = self.lock();
        let number = state.next_member;
        state.next_member += 1;
        state.members.insert(number, EventSubject::from(task));
        Membership { network: self.clone(), number, container }
    }

    /// Emits an event about a pause container to each member, at most once each.
    pub(super) fn notify_members(&self, container: &str, message: &str, events: &TaskEvents) {
        let members: Vec<EventSubject> = self.lock().members.values().cloned().collect();
        for member in members {
            self.notify(&member, container, message, events);
        }
    }

    /// Emits an event about a pause container to a task, at most once.
    pub(super) fn notify(&self, member: &EventSubject, container: &str, message: &str, events: &TaskEvents) {
        if self.lock().notified.insert((member.task_name.clone(), container.to_owned())) {
            events.emit(member, message, BTreeMap::new());
        }
    }

    /// Emits an event to a task, at most once, if the pause container's image is not the operator's. Nobody can be notified
    /// when the network is created, because events belong to tasks.
    pub(super) fn notify_of_image(&self, member: &EventSubject, container: &str, events: &TaskEvents) {
        let notice = self.lock().notice.clone();
        if let Some(notice) = notice {
            self.notify(member, container, &notice, events);
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.network.lock().members.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn task(name: &str) -> TaskConfig {
        TaskConfig { name: name.to_owned(), ..TaskConfig::default() }
    }

    #[tokio::test]
    async fn members_are_notified_once_of_each_container_and_those_that_left_are_not() {
        let (events, network) = (TaskEvents::default(), Arc::<Network>::default());
        let mut emitted = Box::pin(events.subscribe());
        let web = network.join(&task("web"), "c1".to_owned());
        let log = network.join(&task("log"), "c1".to_owned());

        drop(log);
        network.notify_members("c2", "healed", &events);
        network.notify_members("c2", "healed", &events);
        network.notify_members("c3", "healed again", &events);
        drop(web);
        network.notify_members("c4", "healed", &events);

        let mut names = Vec::new();
        while let Some(Some(event)) = emitted.next().now_or_never() {
            names.push(event.task_name);
        }
        assert_eq!(names, ["web", "web"]);
    }
}
