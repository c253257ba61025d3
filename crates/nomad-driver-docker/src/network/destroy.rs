//! Removes a group's network, for as long as that takes: an agent asks for it once.
//!
//! ```text
//! wanted -> being removed -> removed
//!   ^____________|  created again
//! ```

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use nomad_plugin::{
    driver::{DriverError, NetworkIsolation},
    id::AllocId,
};
use tokio::sync::watch;

use super::{
    Ledger, SANDBOX_CONTAINER, failed,
    group_networks::GroupNetworks,
    membership::Network,
    pause,
    persistent_namespace::PersistentNamespace,
    removal::{Failure, Removal},
};
use crate::checkpoint::reached;
use background::Backoff;
use engine::{EngineError, within};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);

/// The pauses between the attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A pause container needs no time to stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

impl GroupNetworks {
    /// Removes an allocation's network. It is no error if it does not exist. What fails is tried again in the background, also
    /// after the caller has been notified of the error.
    pub async fn destroy(&self, alloc: &AllocId, spec: Option<NetworkIsolation>) -> Result<(), DriverError> {
        let named = spec.and_then(|mut spec| spec.labels.remove(SANDBOX_CONTAINER)).filter(|id| !id.is_empty());
        self.begin_removal(&self.known.of(alloc), alloc, named).ended().await
    }

    /// Removes the network of a finished allocation, if `is_over` still holds once nobody else creates or joins it; returns
    /// whether it was removed.
    pub async fn destroy_left(&self, alloc: &AllocId, is_over: impl FnOnce() -> bool) -> Result<bool, DriverError> {
        let network = self.known.of(alloc);
        let _turn = network.turn.lock().await;
        if !is_over() {
            return Ok(false);
        }
        self.remove_now(&network, alloc, None).await?;
        self.known.forget(alloc);
        Ok(true)
    }

    /// Begins to remove a network, or has the removal in progress make its next attempt now. `named` is the pause container that
    /// the host knows.
    fn begin_removal(&self, network: &Arc<Network>, alloc: &AllocId, named: Option<String>) -> Removal {
        let removal = network.removal(|| {
            let (removal, failures) = Removal::new();
            let (networks, network, alloc, own) = (self.clone(), network.clone(), alloc.clone(), removal.clone());
            self.cleanup
                .spawn(async move { networks.remove(&network, &alloc, named.as_deref(), &own, failures).await });
            removal
        });
        removal.request();
        removal
    }

    /// Makes attempts until nothing is left to remove.
    async fn remove(
        &self,
        network: &Network,
        alloc: &AllocId,
        named: Option<&str>,
        own: &Removal,
        failures: watch::Sender<Failure>,
    ) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let error = {
                let _turn = network.turn.lock().await;
                if !network.is_removed_by(own) {
                    return;
                }
                // It is large, because lists of containers are.
                match Box::pin(self.remove_now(network, alloc, named)).await {
                    Ok(()) => return self.known.forget(alloc),
                    Err(error) => error,
                }
            };
            if failures.borrow().is_none() {
                tracing::warn!(%alloc, %error, "failed to remove the group's network; retrying");
            }
            failures.send_replace(Some(error));
            own.requested_within(backoff.pause()).await;
        }
    }

    /// One attempt to remove a network. The caller must hold the network's turn.
    pub(super) async fn remove_now(
        &self,
        network: &Network,
        alloc: &AllocId,
        named: Option<&str>,
    ) -> Result<(), DriverError> {
        network.stop_supervising();
        // While the engine is away, in case this process ends before it is back.
        if let Some(ledger) = self.known.last_ledger() {
            ledger.note_over(alloc);
        }
        let ledger = self.known_ledger().await?;
        ledger.note_over(alloc);
        reached("network: end recorded");
        let removed = within(ATTEMPT, self.remove_containers(&ledger, alloc, named)).await;
        removed.map_err(|error| failed("failed to remove pause container", &error))?;
        reached("network: containers removed");
        let of_host = PersistentNamespace::of(alloc).remove().and_then(|()| {
            reached("network: namespace removed");
            ledger.forget(alloc)
        });
        of_host.map_err(|error| {
            DriverError::recoverable(format!("failed to remove the network's namespace and record: {error}"))
        })?;
        reached("network: record removed");
        network.end_removal();
        Ok(())
    }

    /// Stops and removes all pause containers of an allocation: its own, and what attempts to create or replace it have left.
    async fn remove_containers(
        &self,
        ledger: &Ledger,
        alloc: &AllocId,
        named: Option<&str>,
    ) -> Result<(), EngineError> {
        let listed = pause::all(&self.engine, alloc, &self.node.known().id).await?;
        let listed = listed.into_iter().map(|found| found.id);
        let all: BTreeSet<String> = listed.chain(ledger.pause(alloc)).chain(named.map(str::to_owned)).collect();
        for id in &all {
            match self.engine.stop_container(id, STOP_GRACE).await {
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => tracing::warn!(container = id, %error, "failed to stop the pause container"),
                Ok(()) => {}
            }
            reached("network: container stopped");
            self.engine.remove_container(id).await?;
        }
        Ok(())
    }
}

/// A network that is being created. Unless it is committed, what was begun of it is removed in the background.
pub(super) struct Unfinished {
    networks: GroupNetworks,
    network: Arc<Network>,
    alloc: AllocId,
    begun: bool,
}

impl Unfinished {
    /// Nothing is begun yet.
    pub(super) fn new(networks: &GroupNetworks, network: &Arc<Network>, alloc: &AllocId) -> Self {
        Self { networks: networks.clone(), network: network.clone(), alloc: alloc.clone(), begun: false }
    }

    /// From now on there may be something to remove.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// The network is whole; returns whether it was begun here, rather than found.
    pub(super) fn commit(mut self) -> bool {
        std::mem::take(&mut self.begun)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.begun {
            let _removal = self.networks.begin_removal(&self.network, &self.alloc, None);
        }
    }
}
