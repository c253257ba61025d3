//! The network that the tasks of an allocation share: that of a pause container.
//!
//! ```text
//! absent -> created -> running -> removed
//!                      ^     \-> dead, its namespace kept
//!                      \-- healed --/
//! ```

mod healing;
mod kept;
mod known;
mod ledger;
mod left;
mod pause;
mod pause_image;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

pub use healing::{join, look_after_that_of};
use kept::KeptNamespace;
use known::Network;
pub use known::Networks;
pub use ledger::Ledger;
pub use left::{Directory, Left};
use nomad_plugin::{
    driver::{CreatedNetwork, DriverError, NetworkIsolation, NetworkMode},
    id::AllocId,
};
use pause::{PAUSE, name};
pub use pause::{is_name_of_pause, is_pause, is_pause_of};
use pause_image::PauseImage;

use crate::{
    container::{ALLOC_ID, NODE_ID},
    engine::{
        EngineError, Inspected, ListedContainer, persist,
        request::{ContainerCreateBody, HostConfig},
    },
    half_made::HalfMade,
    task::{Surroundings, TaskStore},
};

/// Nomad reads these labels to find the container and its hostname.
const CONTAINER_ID: &str = "docker_sandbox_container_id";
const HOSTNAME: &str = "docker_sandbox_hostname";

/// A pause container needs no time to end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Whether a container that the engine lists shares the network of another one.
pub fn joins(found: &ListedContainer, other: &ListedContainer) -> bool {
    let joined = found.network_mode.strip_prefix("container:").filter(|joined| !joined.is_empty());
    // Engines take the beginning of an id for it.
    joined.is_some_and(|joined| other.id.starts_with(joined) || other.names.iter().any(|name| name == joined))
}

/// The labels of a pause container: whose it is.
fn labels(around: &Surroundings, alloc: &AllocId) -> HashMap<String, String> {
    let node = Some((NODE_ID.to_owned(), around.node.known().id)).filter(|(_, node)| !node.is_empty());
    let own = [(ALLOC_ID.to_owned(), alloc.to_string()), (PAUSE.to_owned(), "true".to_owned())];
    node.into_iter().chain(own).collect()
}

fn failed(what: &str, error: &EngineError) -> DriverError {
    // Fatal is only a network that is lost.
    DriverError::recoverable_or_unsaid(error.is_transient(), format!("{what}: {error}"))
}

/// Makes the network of an allocation, or finds it, and looks after it from now on.
pub async fn create(
    around: &Surroundings,
    store: &TaskStore,
    alloc: &AllocId,
    hostname: &str,
) -> Result<CreatedNetwork, DriverError> {
    let network = around.networks.of(alloc);
    let _turn = network.turn.lock().await;
    let made = match find(around, &network, alloc, hostname).await? {
        Some(isolation) => CreatedNetwork { isolation, created: false },
        None => CreatedNetwork { isolation: make(around, &network, alloc, hostname).await?, created: true },
    };
    healing::look_after(around, store, alloc, &made.isolation);
    Ok(made)
}

/// A network that is there; a pause container without one is removed.
async fn find(
    around: &Surroundings,
    network: &Network,
    alloc: &AllocId,
    hostname: &str,
) -> Result<Option<NetworkIsolation>, DriverError> {
    let is_kept = KeptNamespace::of(alloc).identity().is_some();
    if is_kept {
        let wanted = isolation(alloc, Inspected::default(), hostname);
        let found = healing::joinable(around, network, alloc, &wanted).await?;
        return Ok(Some(isolation(alloc, found, hostname)));
    }
    let Some(found) = pause_container(around, alloc).await? else { return Ok(None) };
    // After a reboot the engine may have started it again, without what was in its namespace.
    let was_kept = Ledger::of(around).await.is_some_and(|ledger| ledger.kept(alloc).is_some());
    if found.is_running() && !was_kept {
        keep_namespace(around, alloc, &found).await;
        keep_image(around, network, &found).await;
        return Ok(Some(isolation(alloc, found, hostname)));
    }
    purge(around, &found.id).await?;
    Ok(None)
}

/// The allocation's pause container, in any state.
async fn pause_container(around: &Surroundings, alloc: &AllocId) -> Result<Option<Inspected>, DriverError> {
    // It is large, for what the engine knows of a container is.
    let found = Box::pin(pause::find(around, alloc)).await;
    found.map_err(|error| failed("failed to look for the pause container", &error))
}

/// Makes room for another pause container.
async fn purge(around: &Surroundings, id: &str) -> Result<(), DriverError> {
    let removed = around.engine.remove_container(id).await;
    removed.map_err(|error| failed(&format!("Failed to purge container {id}"), &error))
}

/// Makes and starts a pause container, and waits until it is `ready`. One that does not come so far is removed.
async fn start(
    around: &Surroundings,
    alloc: &AllocId,
    body: ContainerCreateBody,
    ready: impl AsyncFnOnce(&str) -> Result<Inspected, DriverError>,
) -> Result<Inspected, DriverError> {
    // Noted before anything is there: what is not noted nobody may ever take away.
    if let Some(ledger) = Ledger::of(around).await {
        ledger.note_begun(alloc, &around.node.known().id);
    }
    let id = match around.engine.create_container(&name(alloc), body.clone()).await {
        // Somebody else's container has the name. The network's is known by its id.
        Err(error) if error.is_conflict() && pause_container(around, alloc).await?.is_none() => {
            around.engine.create_container(&another_name(alloc), body).await
        }
        created => created,
    };
    let id = id.map_err(|error| failed("failed to create container", &error))?;
    let container = HalfMade::new(around, id.clone());
    if let Some(ledger) = Ledger::of(around).await {
        ledger.note_pause(alloc, &id);
    }
    let started = async {
        let start = around.engine.start_container(&id).await;
        start.map_err(|error| failed(&format!("Failed to start container {id}"), &error))?;
        ready(&id).await
    };
    match started.await {
        Ok(found) => {
            container.keep();
            Ok(found)
        }
        Err(error) => {
            container.undo().await;
            Err(error)
        }
    }
}

/// The name of a pause container where its own is taken.
fn another_name(alloc: &AllocId) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:08x}", name(alloc), now.subsec_nanos())
}

async fn look_at(around: &Surroundings, id: &str) -> Result<Inspected, DriverError> {
    let found = around.engine.inspect_container(id).await;
    found.map_err(|error| failed("failed to look at the pause container", &error))
}

async fn make(
    around: &Surroundings,
    network: &Network,
    alloc: &AllocId,
    hostname: &str,
) -> Result<NetworkIsolation, DriverError> {
    remove_leftovers(around, alloc).await;
    let image = PauseImage::ensure(around).await?;
    let body = ContainerCreateBody {
        image: Some(image.id.clone()),
        hostname: Some(hostname.to_owned()).filter(|hostname| !hostname.is_empty()),
        labels: Some(labels(around, alloc)),
        // No restart policy: the engine would start it again in a namespace without anything in it.
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let started = start(around, alloc, body, async |id: &str| look_at(around, id).await).await?;
    network.keep_image(image);
    // Who looked after the one before may have given it up as lost.
    network.unguard();
    keep_namespace(around, alloc, &started).await;
    Ok(isolation(alloc, started, hostname))
}

/// Keeps the namespace of a pause container that has the allocation's network, where that is possible.
async fn keep_namespace(around: &Surroundings, alloc: &AllocId, running: &Inspected) {
    if !around.engine.is_local() || !rustix::process::geteuid().is_root() {
        return;
    }
    if running.sandbox.is_empty() {
        return;
    }
    let Some(ledger) = Ledger::of(around).await else { return };
    ledger.note_begun(alloc, &around.node.known().id);
    match KeptNamespace::of(alloc).keep(running.sandbox.as_ref()) {
        Ok(()) => {
            ledger.note_kept(alloc, &running.hostname);
        }
        Err(error) => tracing::warn!(%alloc, %error, "the group's network will be lost if its pause container dies"),
    }
}

/// Keeps the image of a pause container that an earlier process started.
async fn keep_image(around: &Surroundings, network: &Network, found: &Inspected) {
    if !network.keeps_image()
        && let Some(image) = PauseImage::of(around, found).await
    {
        network.keep_image(image);
    }
}

/// Removes what earlier attempts left under other names; what runs is left to the [reaper](crate::reaper).
async fn remove_leftovers(around: &Surroundings, alloc: &AllocId) {
    let found = match around.engine.containers_with_label(&format!("{ALLOC_ID}={alloc}")).await {
        Ok(found) => found,
        Err(error) => return tracing::warn!(%error, "left pause containers cannot be looked for"),
    };
    for left in found.into_iter().filter(|found| is_pause(found) && !found.is_running()) {
        let id = left.id;
        match around.engine.remove_container(&id).await {
            Ok(()) => tracing::info!(container = id, "removed a pause container that an earlier attempt left"),
            Err(error) => tracing::error!(container = id, %error, "failed to remove a left pause container"),
        }
    }
}

/// Removes the network of an allocation. One that is gone is fine.
pub async fn destroy(
    around: &Surroundings,
    alloc: &AllocId,
    spec: Option<NetworkIsolation>,
) -> Result<(), DriverError> {
    let network = around.networks.of(alloc);
    let _turn = network.turn.lock().await;
    destroyed(around, &network, alloc, spec).await
}

/// Removes the network of an allocation that is over, as far as `is_over` says so once nobody else makes or joins it; whether
/// it was removed.
pub async fn destroy_left(
    around: &Surroundings,
    alloc: &AllocId,
    is_over: impl FnOnce() -> bool,
) -> Result<bool, DriverError> {
    let network = around.networks.of(alloc);
    let _turn = network.turn.lock().await;
    if !is_over() {
        return Ok(false);
    }
    destroyed(around, &network, alloc, None).await.map(|()| true)
}

async fn destroyed(
    around: &Surroundings,
    network: &Network,
    alloc: &AllocId,
    spec: Option<NetworkIsolation>,
) -> Result<(), DriverError> {
    network.unguard();
    let named = spec.and_then(|mut spec| spec.labels.remove(CONTAINER_ID)).filter(|id| !id.is_empty());
    // Hosts ask for it once.
    let removed = persist(|| remove(around, alloc, named.as_deref())).await;
    removed.map_err(|error| failed("failed to remove pause container", &error))?;
    if let Err(error) = KeptNamespace::of(alloc).let_go() {
        tracing::warn!(%alloc, %error, "the namespace of a removed network stays");
    } else if let Some(ledger) = Ledger::of(around).await {
        ledger.forget(alloc);
    }
    around.networks.forget(alloc);
    Ok(())
}

/// Ends and removes the pause container; `named` is the one that the host knows.
async fn remove(around: &Surroundings, alloc: &AllocId, named: Option<&str>) -> Result<(), EngineError> {
    // One that died has been followed by another one.
    let id = match Box::pin(pause::find(around, alloc)).await {
        Ok(found) => found.map(|found| found.id),
        Err(error) if error.is_transient() => return Err(error),
        Err(_) => None,
    };
    let Some(id) = id.or_else(|| named.map(str::to_owned)) else { return Ok(()) };
    match around.engine.stop_container(&id, STOP_GRACE).await {
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => tracing::warn!(container = id, %error, "failed to stop the pause container"),
        Ok(()) => {}
    }
    around.engine.remove_container(&id).await
}

/// A network as hosts are told. The path of a kept namespace holds as long as the network does.
fn isolation(alloc: &AllocId, inspected: Inspected, hostname: &str) -> NetworkIsolation {
    let mut labels = BTreeMap::from([(CONTAINER_ID.to_owned(), inspected.id)]);
    if !hostname.is_empty() {
        labels.insert(HOSTNAME.to_owned(), hostname.to_owned());
    }
    let kept = KeptNamespace::of(alloc);
    let path = match kept.identity() {
        Some(_) => kept.path().display().to_string(),
        None => inspected.sandbox,
    };
    NetworkIsolation { mode: NetworkMode::Group, path, labels, hosts: None }
}
