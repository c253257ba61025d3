//! The image of pause containers: the operator's, or else the built-in one, of which tasks' owners are told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use nomad_plugin::{
    driver::{DriverError, Recoverability, TaskConfig},
    id::AllocId,
};

use crate::{
    events::{EventSubject, TaskEvents},
    image::{ImageLease, ImageRequest, PAUSE_IMAGE},
    task::Surroundings,
};

/// An image that the engine has, for one pause container.
pub(super) struct PauseImage {
    /// The name by which the container is made.
    pub(super) name: String,
    lease: ImageLease,
    /// Why it is not the operator's.
    notice: Option<String>,
}

impl PauseImage {
    /// Makes sure that the engine has one. A name that is none is a mistake, and an error.
    pub(super) async fn ensure(around: &Surroundings) -> Result<Self, DriverError> {
        let wanted = around.images.ensure(&ImageRequest::of_pause_container(&around.plugin)).await;
        let error = match wanted {
            Ok(image) => return Ok(Self { name: image.name, lease: image.lease, notice: None }),
            Err(error) => error,
        };
        let failed = format!("unable to pull infra docker image {:?}: {error}", around.plugin.infra_image);
        if error.recoverability != Recoverability::Recoverable {
            return Err(DriverError::new(failed));
        }
        match around.images.built_in_pause().await {
            Ok(image) => {
                let notice = format!("The network is kept by the built-in image {PAUSE_IMAGE}: {failed}");
                tracing::warn!("{notice}");
                Ok(Self { name: image.name, lease: image.lease, notice: Some(notice) })
            }
            Err(error) => Err(DriverError::new(format!("{failed}; {error}"))),
        }
    }
}

/// What keeps the images of the pause containers that this process started, and what is to be told of them.
#[derive(Clone, Default)]
pub struct PauseImages(Arc<Mutex<HashMap<AllocId, Kept>>>);

struct Kept {
    _lease: ImageLease,
    notice: Option<String>,
    /// The names of the tasks whose owners were told.
    told: HashSet<String>,
}

impl PauseImages {
    pub(super) fn keep(&self, alloc: &AllocId, image: PauseImage) {
        let kept = Kept { _lease: image.lease, notice: image.notice, told: HashSet::new() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(alloc.clone(), kept);
    }

    /// No longer keeps an allocation's.
    pub fn give_back(&self, alloc: &AllocId) {
        let _kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(alloc);
    }

    /// Tells the owner of a task, once, if its network is not kept by the operator's image. There is nobody to tell when
    /// the network is made: events are of tasks.
    pub fn tell(&self, task: &TaskConfig, events: &TaskEvents) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = all.get_mut(&task.alloc_id) else { return };
        if let Some(notice) = &kept.notice
            && kept.told.insert(task.name.clone())
        {
            events.emit(&EventSubject::from(task), notice, BTreeMap::new());
        }
    }
}
