//! The group networks of one engine: created, found again, joined, removed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use nomad_plugin::{
    driver::{CreatedNetwork, DriverError, NetworkIsolation, NetworkMode},
    id::AllocId,
};

use super::{
    Ledger, SANDBOX_CONTAINER, failed, is_pause,
    membership::{Network, Networks},
    pause::{self, PAUSE, name},
    pause_image::PauseImage,
    persistent_namespace::PersistentNamespace,
};
use crate::{
    events::TaskEvents,
    image::Images,
    labels::{ALLOC_ID, NODE_ID},
    node::Node,
    process::Process,
    settings::CurrentSettings,
};
use background::Cleanup;
use engine::{
    ContainerWatch, Engine, EngineError, Inspected, Provisional, persist,
    request::{ContainerCreateBody, HostConfig},
};

/// Nomad reads a network's host name from this label.
pub(super) const HOSTNAME: &str = "docker_sandbox_hostname";

/// A pause container needs no time to stop.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How long a removal is tried, whatever the engine is busy with.
const REMOVAL: Duration = Duration::from_secs(300);

/// The group networks of one engine. Clones share them.
#[derive(Clone)]
pub struct GroupNetworks {
    pub(super) engine: Engine,
    pub(super) watch: Arc<ContainerWatch>,
    pub(super) images: Arc<Images>,
    pub(super) settings: CurrentSettings,
    pub(super) events: TaskEvents,
    pub(super) known: Arc<Networks>,
    node: Node,
    cleanup: Cleanup,
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

    /// Creates an allocation's network, or finds it, and starts to supervise it.
    pub async fn create(&self, alloc: &AllocId, hostname: &str) -> Result<CreatedNetwork, DriverError> {
        let network = self.known.of(alloc);
        let _turn = network.turn.lock().await;
        let created = match self.find(&network, alloc, hostname).await? {
            Some(isolation) => CreatedNetwork { isolation, created: false },
            None => CreatedNetwork { isolation: self.make(&network, alloc, hostname).await?, created: true },
        };
        self.supervise(alloc, &created.isolation);
        Ok(created)
    }

    /// Removes an allocation's network. It is no error if it does not exist.
    pub async fn destroy(&self, alloc: &AllocId, spec: Option<NetworkIsolation>) -> Result<(), DriverError> {
        let network = self.known.of(alloc);
        let _turn = network.turn.lock().await;
        self.destroyed(&network, alloc, spec).await
    }

    /// Removes the network of a finished allocation, if `is_over` still holds once nobody else creates or joins it; returns
    /// whether it was removed.
    pub async fn destroy_left(&self, alloc: &AllocId, is_over: impl FnOnce() -> bool) -> Result<bool, DriverError> {
        let network = self.known.of(alloc);
        let _turn = network.turn.lock().await;
        if !is_over() {
            return Ok(false);
        }
        self.destroyed(&network, alloc, None).await.map(|()| true)
    }

    /// The networks' ledger; `None` if the engine does not identify itself.
    pub async fn ledger(&self) -> Option<Ledger> {
        let facts = self.engine.facts().await.ok()?;
        Some(Ledger::new(self.settings.now().state_dir(), &facts.name))
    }

    /// The labels that identify a pause container's owner.
    pub(super) fn labels(&self, alloc: &AllocId) -> HashMap<String, String> {
        let node = Some((NODE_ID.to_owned(), self.node.known().id)).filter(|(_, node)| !node.is_empty());
        let own = [(ALLOC_ID.to_owned(), alloc.to_string()), (PAUSE.to_owned(), "true".to_owned())];
        node.into_iter().chain(own).collect()
    }

    /// Finds an existing network; a pause container that has lost its network is removed.
    async fn find(
        &self,
        network: &Network,
        alloc: &AllocId,
        hostname: &str,
    ) -> Result<Option<NetworkIsolation>, DriverError> {
        let is_persistent = PersistentNamespace::of(alloc).identity().is_some();
        if is_persistent {
            let wanted = isolation(alloc, Inspected::default(), hostname);
            let found = self.joinable(network, alloc, &wanted).await?;
            return Ok(Some(isolation(alloc, found, hostname)));
        }
        let Some(found) = self.pause_container(alloc).await? else { return Ok(None) };
        // After a reboot the engine may have restarted it, without the contents of its namespace.
        let was_persistent = self.ledger().await.is_some_and(|ledger| ledger.persistent(alloc).is_some());
        if found.is_running() && !was_persistent {
            self.persist_namespace(alloc, &found).await;
            self.lease_image_of(network, &found).await;
            return Ok(Some(isolation(alloc, found, hostname)));
        }
        self.purge(&found.id).await?;
        Ok(None)
    }

    /// The allocation's pause container, in any state.
    pub(super) async fn pause_container(&self, alloc: &AllocId) -> Result<Option<Inspected>, DriverError> {
        // It is large, because an inspected container is.
        let found = Box::pin(self.find_pause_container(alloc)).await;
        found.map_err(|error| failed("failed to look for the pause container", &error))
    }

    async fn find_pause_container(&self, alloc: &AllocId) -> Result<Option<Inspected>, EngineError> {
        let noted = self.ledger().await.and_then(|ledger| ledger.pause(alloc));
        pause::find(&self.engine, alloc, noted.as_deref(), &self.node.known().id).await
    }

    /// Removes a pause container to make room for another.
    pub(super) async fn purge(&self, id: &str) -> Result<(), DriverError> {
        let removed = self.engine.remove_container(id).await;
        removed.map_err(|error| failed(&format!("Failed to purge container {id}"), &error))
    }

    /// Creates and starts a pause container, and waits until it is `ready`. If that fails, it is removed.
    pub(super) async fn start(
        &self,
        alloc: &AllocId,
        body: ContainerCreateBody,
        ready: impl AsyncFnOnce(&str) -> Result<Inspected, DriverError>,
    ) -> Result<Inspected, DriverError> {
        // Recorded before anything is created: a container without a record might never be removed.
        if let Some(ledger) = self.ledger().await {
            ledger.note_begun(alloc, &self.node.known().id);
        }
        let id = match self.engine.create_container(&name(alloc), body.clone()).await {
            // Somebody else's container has the name. The network's own is identified by its id.
            Err(error) if error.is_name_conflict() && self.pause_container(alloc).await?.is_none() => {
                self.engine.create_container(&another_name(alloc), body).await
            }
            created => created,
        };
        let id = id.map_err(|error| failed("failed to create container", &error))?;
        let container = Provisional::new(&self.engine, &self.cleanup, id.clone(), |_| ());
        if let Some(ledger) = self.ledger().await {
            ledger.note_pause(alloc, &id);
        }
        let started = async {
            let start = self.engine.start_container(&id).await;
            start.map_err(|error| failed(&format!("Failed to start container {id}"), &error))?;
            ready(&id).await
        };
        match started.await {
            Ok(found) => {
                container.commit();
                Ok(found)
            }
            Err(error) => {
                container.undo().await;
                Err(error)
            }
        }
    }

    pub(super) async fn look_at(&self, id: &str) -> Result<Inspected, DriverError> {
        let found = self.engine.inspect_container(id).await;
        found.map_err(|error| failed("failed to look at the pause container", &error))
    }

    async fn make(&self, network: &Network, alloc: &AllocId, hostname: &str) -> Result<NetworkIsolation, DriverError> {
        self.remove_leftovers(alloc).await;
        let image = PauseImage::ensure(&self.images, &self.settings.now()).await?;
        let body = ContainerCreateBody {
            image: Some(image.id.clone()),
            hostname: Some(hostname.to_owned()).filter(|hostname| !hostname.is_empty()),
            labels: Some(self.labels(alloc)),
            // No restart policy: the engine would restart it in an empty namespace.
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let started = self.start(alloc, body, async |id: &str| self.look_at(id).await).await?;
        network.lease_image(image);
        // The previous supervisor may have given the network up as lost.
        network.stop_supervising();
        self.persist_namespace(alloc, &started).await;
        Ok(isolation(alloc, started, hostname))
    }

    /// Makes the namespace of the allocation's pause container persistent, if possible.
    pub(super) async fn persist_namespace(&self, alloc: &AllocId, running: &Inspected) {
        if !self.engine.is_local() || !rustix::process::geteuid().is_root() || running.sandbox.is_empty() {
            return;
        }
        let Some(ledger) = self.ledger().await else { return };
        ledger.note_begun(alloc, &self.node.known().id);
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

    /// Removes leftovers of earlier attempts under other names; running ones are left to the [reaper](crate::reaper).
    async fn remove_leftovers(&self, alloc: &AllocId) {
        let found = match self.engine.containers_with_label(&format!("{ALLOC_ID}={alloc}")).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "failed to look for leftover pause containers"),
        };
        for left in found.into_iter().filter(|found| is_pause(found) && !found.is_running()) {
            let id = left.id;
            match self.engine.remove_container(&id).await {
                Ok(()) => tracing::info!(container = id, "removed a pause container that an earlier attempt left"),
                Err(error) => tracing::error!(container = id, %error, "failed to remove a leftover pause container"),
            }
        }
    }

    async fn destroyed(
        &self,
        network: &Network,
        alloc: &AllocId,
        spec: Option<NetworkIsolation>,
    ) -> Result<(), DriverError> {
        network.stop_supervising();
        let named = spec.and_then(|mut spec| spec.labels.remove(SANDBOX_CONTAINER)).filter(|id| !id.is_empty());
        // Hosts request it only once.
        let removed = persist(&name(alloc), REMOVAL, || self.remove(alloc, named.as_deref())).await;
        removed.map_err(|error| failed("failed to remove pause container", &error))?;
        if let Err(error) = PersistentNamespace::of(alloc).remove() {
            tracing::warn!(%alloc, %error, "failed to remove the namespace of a removed network");
        } else if let Some(ledger) = self.ledger().await {
            ledger.forget(alloc);
        }
        self.known.forget(alloc);
        Ok(())
    }

    /// Stops and removes the pause container; `named` is the one that the host knows.
    async fn remove(&self, alloc: &AllocId, named: Option<&str>) -> Result<(), EngineError> {
        // A pause container that died may have been replaced.
        let id = match Box::pin(self.find_pause_container(alloc)).await {
            Ok(found) => found.map(|found| found.id),
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => None,
        };
        let Some(id) = id.or_else(|| named.map(str::to_owned)) else { return Ok(()) };
        match self.engine.stop_container(&id, STOP_GRACE).await {
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => tracing::warn!(container = id, %error, "failed to stop the pause container"),
            Ok(()) => {}
        }
        self.engine.remove_container(&id).await
    }
}

/// The name of a pause container if the usual one is taken.
fn another_name(alloc: &AllocId) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:08x}", name(alloc), now.subsec_nanos())
}

/// The network as reported to hosts. The path of a persistent namespace is valid as long as the network exists.
fn isolation(alloc: &AllocId, inspected: Inspected, hostname: &str) -> NetworkIsolation {
    let mut labels = BTreeMap::from([(SANDBOX_CONTAINER.to_owned(), inspected.id)]);
    if !hostname.is_empty() {
        labels.insert(HOSTNAME.to_owned(), hostname.to_owned());
    }
    let persistent = PersistentNamespace::of(alloc);
    let path = match persistent.identity() {
        Some(_) => persistent.path().display().to_string(),
        None => inspected.sandbox,
    };
    NetworkIsolation { mode: NetworkMode::Group, path, labels, hosts: None }
}
