//! The network that the tasks of an instance share: the driver's sandbox, in mode `bridge` connected to this machine.
//!
//! ```text
//! absent -> being made -> sandbox -> connected -> removed
//! ```

mod cni;

use nomad_jobspec::job::Group;
use nomad_plugin::{
    driver::{CreatedNetwork, HostsEntry, NetworkIsolation, NetworkMode},
    id::AllocId,
};

use crate::{
    Failure,
    driver::Driver,
    record::Record,
    report,
    state::{AllocState, NetworkState},
};

/// What a network's own address is on, in it.
pub(crate) const INTERFACE: &str = "eth0";

/// Why a group's network cannot be made here; `None` where it can.
pub(crate) fn missing(group: &Group) -> Option<String> {
    (group.network.mode == "bridge").then(cni::missing).flatten()
}

/// Makes the network of an instance, where its group asks for one of its own. Each step is on
/// disk before it is taken, so that [`remove`] undoes what was made, wherever the making ends.
pub(crate) async fn make(
    driver: &Driver,
    group: &Group,
    alloc: &AllocState,
    record: &Record,
) -> Result<Option<NetworkState>, String> {
    let network = &group.network;
    if !matches!(network.mode.as_str(), "bridge" | "none") {
        return Ok(None);
    }
    let mut state = NetworkState::default();
    if network.mode == "bridge" {
        let name = if network.hostname.is_empty() { report::short(&alloc.id) } else { &network.hostname };
        name.clone_into(&mut state.hostname);
    }
    record.persist_network(&alloc.id, &state).await;
    let id = AllocId::from(alloc.id.as_str());
    let made = driver.call(|client| {
        let (id, hostname) = (id.clone(), network.hostname.clone());
        async move { client.create_network(id, hostname).await }
    });
    let CreatedNetwork { isolation: made, .. } = made.await.map_err(|error| error.to_string())?;
    (state.path, state.labels) = (made.path, made.labels);
    record.persist_network(&alloc.id, &state).await;
    if state.is_to_be_connected() {
        cni::connect(alloc, &mut state, record).await?;
        record.persist_network(&alloc.id, &state).await;
    }
    Ok(Some(state))
}

/// Removes the network of an instance. Where that fails, all that can be removed is, and the rest is left to a next try.
pub(crate) async fn remove(driver: &Driver, alloc: &AllocState, network: &NetworkState) -> Result<(), String> {
    let disconnected = cni::disconnect(alloc, network).await;
    let id = AllocId::from(alloc.id.as_str());
    let destroyed = driver.call(|client| {
        let (id, network) = (id.clone(), isolation(network));
        async move { client.destroy_network(id, Some(network)).await }
    });
    let destroyed = destroyed.await.map_err(|error| error.to_string());
    let failed = |error| format!("failed to remove the network of allocation {}: {error}", report::short(&alloc.id));
    disconnected.and(destroyed).map_err(failed)
}

/// Removes the networks of instances that are over. One that cannot be removed is kept on record.
pub(crate) async fn remove_all(
    driver: &Driver,
    allocs: impl IntoIterator<Item = &mut AllocState>,
) -> Result<(), Failure> {
    let mut first = Ok(());
    for alloc in allocs {
        let Some(network) = &alloc.network else { continue };
        match remove(driver, alloc, network).await {
            Ok(()) => alloc.network = None,
            Err(error) => first = first.and(Err(Failure::Engine(error))),
        }
    }
    first
}

/// A network as the driver knows it.
pub(crate) fn isolation(network: &NetworkState) -> NetworkIsolation {
    let NetworkState { path, labels, hostname, address, .. } = network;
    let hosts = |address: &String| HostsEntry { hostname: hostname.clone(), address: address.clone() };
    NetworkIsolation {
        mode: NetworkMode::Group,
        path: path.clone(),
        labels: labels.clone(),
        hosts: address.as_ref().map(hosts),
    }
}
