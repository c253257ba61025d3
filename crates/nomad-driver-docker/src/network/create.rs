//! Creates a group's network, or finds it.

use std::{collections::BTreeMap, time::Duration};

use nomad_plugin::{
    driver::{CreatedNetwork, DriverError, NetworkIsolation, NetworkMode, Recoverability},
    id::AllocId,
};
use tokio::time::Instant;

use super::{
    Ledger, SANDBOX_CONTAINER,
    destroy::Unfinished,
    group_networks::{CALL, GroupNetworks, HOSTNAME},
    membership::Network,
    pause,
    pause_image::PauseImage,
    persistent_namespace::PersistentNamespace,
};
use crate::checkpoint::reached;
use background::Backoff;
use engine::{
    Inspected,
    request::{ContainerCreateBody, HostConfig},
    within,
};

/// How often the creation of a network is tried; an agent asks for it once, and fails the allocation if it fails.
const ATTEMPTS: u32 = 9;
/// The pause before the second attempt. Each is twice as long as the last: nine attempts bridge 25 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No attempt begins later.
const LATEST: Duration = Duration::from_secs(120);

impl GroupNetworks {
    /// Creates an allocation's network, or finds it, and starts to supervise it. What fails for a while is tried again. If it
    /// fails for good, or nobody waits for it any more, what was begun is removed in the background.
    pub async fn create(&self, alloc: &AllocId, hostname: &str) -> Result<CreatedNetwork, DriverError> {
        let network = self.known.of(alloc);
        let _turn = network.turn.lock().await;
        let mut unfinished = Unfinished::new(self, &network, alloc);
        let (began, mut backoff, mut attempts) = (Instant::now(), Backoff::new(FIRST_PAUSE, Duration::MAX), 1);
        let isolation = loop {
            // It is large, because an inspected container is.
            let error = match Box::pin(self.find_or_make(&network, alloc, hostname, &mut unfinished)).await {
                Ok(isolation) => break isolation,
                Err(error) => error,
            };
            let helps = error.recoverability == Recoverability::Recoverable;
            if !helps || attempts == ATTEMPTS || began.elapsed() > LATEST {
                return Err(error);
            }
            tracing::warn!(%alloc, %error, "failed to create the group's network; retrying");
            backoff.wait().await;
            attempts += 1;
        };
        let created = unfinished.commit();
        self.supervise(alloc, &isolation);
        Ok(CreatedNetwork { isolation, created })
    }

    /// One attempt. It finds what an earlier one made, whatever the engine answered then.
    async fn find_or_make(
        &self,
        network: &Network,
        alloc: &AllocId,
        hostname: &str,
        unfinished: &mut Unfinished,
    ) -> Result<NetworkIsolation, DriverError> {
        let ledger = self.known_ledger().await?;
        if network.is_being_removed() || ledger.is_over(alloc) {
            // The host has taken down its part of the network already.
            self.remove_now(network, alloc, None).await?;
        }
        if let Some(isolation) = self.find(network, alloc, hostname, &ledger).await? {
            return Ok(isolation);
        }
        unfinished.begin();
        // The previous supervisor may have given the network up as lost.
        network.stop_supervising();
        self.make(network, alloc, hostname).await
    }

    /// Finds an existing network; a pause container that has lost its network is removed.
    async fn find(
        &self,
        network: &Network,
        alloc: &AllocId,
        hostname: &str,
        ledger: &Ledger,
    ) -> Result<Option<NetworkIsolation>, DriverError> {
        let is_persistent = PersistentNamespace::of(alloc).identity().is_some();
        if is_persistent {
            let wanted = isolation(alloc, Inspected::default(), hostname);
            let found = self.joinable(network, alloc, &wanted).await?;
            return Ok(Some(isolation(alloc, found, hostname)));
        }
        let Some(found) = self.pause_container(alloc).await? else { return Ok(None) };
        // After a reboot the engine may have restarted it, without the contents of its namespace.
        if found.is_running() && ledger.persistent(alloc).is_none() {
            self.persist_namespace(alloc, &found).await;
            self.lease_image_of(network, &found).await;
            return Ok(Some(isolation(alloc, found, hostname)));
        }
        self.purge(&found.id).await?;
        Ok(None)
    }

    async fn make(&self, network: &Network, alloc: &AllocId, hostname: &str) -> Result<NetworkIsolation, DriverError> {
        self.remove_leftovers(alloc).await;
        let image = PauseImage::ensure(&self.images, &self.settings.now()).await?;
        reached("network: image ready");
        let body = ContainerCreateBody {
            image: Some(image.id.clone()),
            hostname: Some(hostname.to_owned()).filter(|hostname| !hostname.is_empty()),
            labels: Some(self.labels(alloc)),
            // No restart policy: the engine would restart it in an empty namespace.
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let started = self.look_at(&self.start(alloc, body).await?).await?;
        network.lease_image(image);
        self.persist_namespace(alloc, &started).await;
        reached("network: namespace persistent");
        Ok(isolation(alloc, started, hostname))
    }

    /// Removes leftovers of earlier attempts under other names; running ones are left to the [reaper](crate::reaper).
    async fn remove_leftovers(&self, alloc: &AllocId) {
        let found = match pause::all(&self.engine, alloc, &self.node.known().id).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "failed to look for leftover pause containers"),
        };
        for id in found.into_iter().filter(|found| !found.is_running()).map(|left| left.id) {
            match within(CALL, self.engine.remove_container(&id)).await {
                Ok(()) => tracing::info!(container = id, "removed a pause container that an earlier attempt left"),
                Err(error) => tracing::error!(container = id, %error, "failed to remove a leftover pause container"),
            }
        }
    }
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
