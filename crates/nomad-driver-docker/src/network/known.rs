//! The networks that this process knows, and what is told of them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nomad_plugin::{driver::TaskConfig, id::AllocId};

use super::pause_image::PauseImage;
use crate::{
    background::Background,
    events::{EventSubject, TaskEvents},
    image::ImageLease,
};

/// The networks that this process knows, by allocation.
#[derive(Clone, Default)]
pub struct Networks(Arc<Mutex<HashMap<AllocId, Arc<Network>>>>);

/// An allocation's network.
#[derive(Default)]
pub(super) struct Network {
    /// Who holds this makes, looks after or removes it.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What keeps the image of the pause container.
    lease: Option<ImageLease>,
    /// Why that image is not the operator's.
    notice: Option<String>,
    /// The names of tasks whose owners were told, and of which pause container.
    told: HashSet<(String, String)>,
    /// Who hears of the pause container's end.
    guard: Option<Background>,
}

impl Networks {
    fn lock(&self) -> MutexGuard<'_, HashMap<AllocId, Arc<Network>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, alloc: &AllocId) -> Arc<Network> {
        self.lock().entry(alloc.clone()).or_default().clone()
    }

    /// Forgets a network, and no longer looks after it.
    pub(super) fn forget(&self, alloc: &AllocId) {
        let _network = self.lock().remove(alloc);
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image of the pause container that now keeps the network.
    pub(super) fn keep_image(&self, image: PauseImage) {
        let mut state = self.lock();
        state.notice = image.notice;
        state.lease = Some(image.lease);
    }

    /// Whether the image of its pause container is kept.
    pub(super) fn keeps_image(&self) -> bool {
        self.lock().lease.is_some()
    }

    /// Has it looked after, unless somebody does already.
    pub(super) fn guard(&self, begin: impl FnOnce() -> Background) {
        self.lock().guard.get_or_insert_with(begin);
    }

    /// Has it looked after by nobody. Only who holds the [turn](Self::turn) may: the guard may be at work in its own.
    pub(super) fn unguard(&self) {
        self.lock().guard = None;
    }

    /// Tells the owner of a task of a pause container, by id, once.
    pub(super) fn tell(&self, task: &TaskConfig, container: &str, message: &str, events: &TaskEvents) {
        if self.lock().told.insert((task.name.clone(), container.to_owned())) {
            events.emit(&EventSubject::from(task), message, BTreeMap::new());
        }
    }

    /// Tells the owner of a task, once, if the pause container, by id, is not of the operator's image. There is nobody to
    /// tell when the network is made: events are of tasks.
    pub(super) fn tell_notice(&self, task: &TaskConfig, container: &str, events: &TaskEvents) {
        let notice = self.lock().notice.clone();
        if let Some(notice) = notice {
            self.tell(task, container, &notice, events);
        }
    }
}
