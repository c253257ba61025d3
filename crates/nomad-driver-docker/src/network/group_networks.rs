//! The group networks of one engine, and their pause containers: found, created, removed.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use nomad_plugin::{driver::DriverError, id::AllocId};

use super::{
    Ledger, failed,
    membership::{Network, Networks},
    pause::{self, PAUSE, name},
    pause_image::PauseImage,
    persistent_namespace::PersistentNamespace,
};
use crate::{
    checkpoint::reached,
    events::TaskEvents,
    image::Images,
    labels::{ALLOC_ID, NODE_ID},
    node::Node,
    process::Process,
    settings::CurrentSettings,
};
use background::Cleanup;
use engine::{ContainerWatch, Engine, EngineError, Inspected, request::ContainerCreateBody, within};

/// Nomad reads a network's host name from this label.
pub(super) const HOSTNAME: &str = "docker_sandbox_hostname";

/// How long a look at a pause container may take. Meanwhile nobody else has the network's turn.
const LOOK: Duration = Duration::from_secs(20);

/// How long a change of a pause container may take, whatever else the engine is busy with.
pub(super) const CALL: Duration = Duration::from_secs(60);

/// The group networks of one engine. Clones share them.
#[derive(Clone)]
pub struct GroupNetworks {
    pub(super) engine: Engine,
    pub(super) watch: Arc<ContainerWatch>,
    pub(super) images: Arc<Images>,
    pub(super) settings: CurrentSettings,
    pub(super) events: TaskEvents,
    pub(super) known: Arc<Networks>,
    pub(super) node: Node,
    pub(super) cleanup: Cleanup,
}

impl GroupNetworks {
    /// The networks in `engine`; none is known yet.
    pub fn new(
        engine: Engine,
        watch: Arc<ContainerWatch>,
        images: Arc<Images>,
        settings: CurrentSettings,
        process: &Process,
    ) -> Self {
        let (events, node, cleanup) = (process.events.clone(), process.node.clone(), process.cleanup.clone());
        Self { engine, watch, images, settings, events, known: Arc::default(), node, cleanup }
    }

    /// Whether an allocation's network is known here.
    pub fn has(&self, alloc: &AllocId) -> bool {
        self.known.has(alloc)
    }

    /// Whether no network is known here.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The networks' ledger; `None` if the engine does not identify itself.
    pub async fn ledger(&self) -> Option<Ledger> {
        self.known_ledger().await.ok()
    }

    pub(super) async fn known_ledger(&self) -> Result<Ledger, DriverError> {
        let facts = self.engine.facts().await.map_err(|error| failed("failed to fetch docker daemon info", &error))?;
        let ledger = Ledger::new(self.settings.now().state_dir(), &facts.name);
        self.known.remember(&ledger);
        Ok(ledger)
    }

    /// The labels that identify a pause container's owner.
    pub(super) fn labels(&self, alloc: &AllocId) -> HashMap<String, String> {
        let node = Some((NODE_ID.to_owned(), self.node.known().id)).filter(|(_, node)| !node.is_empty());
        let own = [(ALLOC_ID.to_owned(), alloc.to_string()), (PAUSE.to_owned(), "true".to_owned())];
        node.into_iter().chain(own).collect()
    }

    /// The allocation's pause container, in any state.
    pub(super) async fn pause_container(&self, alloc: &AllocId) -> Result<Option<Inspected>, DriverError> {
        // It is large, because an inspected container is.
        let found = Box::pin(self.find_pause_container(alloc)).await;
        found.map_err(|error| failed("failed to look for the pause container", &error))
    }

    async fn find_pause_container(&self, alloc: &AllocId) -> Result<Option<Inspected>, EngineError> {
        let noted = self.ledger().await.and_then(|ledger| ledger.pause(alloc));
        within(LOOK, pause::find(&self.engine, alloc, noted.as_deref(), &self.node.known().id)).await
    }

    /// Removes a pause container to make room for another.
    pub(super) async fn purge(&self, id: &str) -> Result<(), DriverError> {
        let removed = within(CALL, self.engine.remove_container(id)).await;
        removed.map_err(|error| failed(&format!("Failed to purge container {id}"), &error))
    }

    /// Creates and starts a pause container. If that fails, the container may be there all the same, and even run: the next
    /// attempt finds it, and so does the network's removal.
    pub(super) async fn start(&self, alloc: &AllocId, body: ContainerCreateBody) -> Result<String, DriverError> {
        // Recorded before anything is created: a container without a record might never be removed.
        let ledger = self.known_ledger().await?;
        ledger.note_begun(alloc, &self.node.known().id);
        reached("network: begin recorded");
        let id = match self.create_container(&name(alloc), body.clone()).await {
            // Somebody else's container has the name. The network's own is identified by its id.
            Err(error) if error.is_name_conflict() && self.pause_container(alloc).await?.is_none() => {
                self.create_container(&another_name(alloc), body).await
            }
            created => created,
        };
        let id = id.map_err(|error| failed("failed to create container", &error))?;
        reached("network: container created");
        ledger.note_pause(alloc, &id);
        reached("network: container recorded");
        let started = within(CALL, self.engine.start_container(&id)).await;
        started.map_err(|error| failed(&format!("Failed to start container {id}"), &error))?;
        reached("network: container started");
        Ok(id)
    }

    async fn create_container(&self, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        within(CALL, self.engine.create_container(name, body)).await
    }

    pub(super) async fn look_at(&self, id: &str) -> Result<Inspected, DriverError> {
        let found = within(LOOK, self.engine.inspect_container(id)).await;
        found.map_err(|error| failed("failed to look at the pause container", &error))
    }

    /// Makes the namespace of the allocation's pause container persistent, if possible.
    pub(super) async fn persist_namespace(&self, alloc: &AllocId, running: &Inspected) {
        if !self.engine.is_local() || !rustix::process::geteuid().is_root() || running.sandbox.is_empty() {
            return;
        }
        let Some(ledger) = self.ledger().await else { return };
        ledger.note_begun(alloc, &self.node.known().id);
        reached("network: namespace not persistent");
        match PersistentNamespace::of(alloc).persist(running.sandbox.as_ref()) {
            Ok(()) => ledger.note_persistent(alloc, &running.hostname),
            Err(error) => {
                tracing::warn!(%alloc, %error, "the group's network will be lost if its pause container dies");
            }
        }
    }

    /// Leases the image of a pause container that an earlier process started.
    pub(super) async fn lease_image_of(&self, network: &Network, found: &Inspected) {
        if !network.has_lease()
            && let Some(image) = PauseImage::of(&self.images, found).await
        {
            network.lease_image(image);
        }
    }
}

/// The name of a pause container if the usual one is taken.
fn another_name(alloc: &AllocId) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:08x}", name(alloc), now.subsec_nanos())
}
