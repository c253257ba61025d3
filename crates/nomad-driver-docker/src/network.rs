//! The network that the tasks of an allocation share: that of a pause container.
//!
//! ```text
//! absent -> created -> running -> removed
//! ```

mod ledger;
mod pause_image;

use std::{collections::BTreeMap, time::Duration};

pub use ledger::Ledger;
use nomad_plugin::{
    driver::{CreatedNetwork, DriverError, NetworkIsolation, NetworkMode},
    id::AllocId,
};
use pause_image::PauseImage;
pub use pause_image::PauseImages;

use crate::{
    container::ALLOC_ID,
    engine::{
        EngineError, FoundContainer,
        model::{ContainerCreateBody, ContainerInspectResponse, HostConfig, RestartPolicy, RestartPolicyNameEnum},
    },
    task::Surroundings,
};

/// Nomad reads these labels to find the container and its hostname.
const CONTAINER_ID: &str = "docker_sandbox_container_id";
const HOSTNAME: &str = "docker_sandbox_hostname";

/// A pause container needs no time to end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How the names of pause containers begin.
const NAME: &str = "nomad_init_";

fn name(alloc: &AllocId) -> String {
    format!("{NAME}{alloc}")
}

/// Whether a container that the engine lists is a pause container.
pub fn is_pause(found: &FoundContainer) -> bool {
    found.names.iter().flatten().any(|name| name.trim_start_matches('/').starts_with(NAME))
}

/// Whether it runs, or is about to again.
pub fn runs(found: &FoundContainer) -> bool {
    found.state.is_some_and(|state| !matches!(state.as_ref(), "created" | "exited" | "dead"))
}

fn failed(what: &str, error: &EngineError) -> DriverError {
    DriverError::new(format!("{what}: {error}"))
}

/// Makes the network of an allocation, or finds it.
pub async fn create(around: &Surroundings, alloc: &AllocId, hostname: &str) -> Result<CreatedNetwork, DriverError> {
    let engine = &around.engine;
    let name = name(alloc);
    match engine.inspect_container(&name).await {
        Ok(found) if is_running(&found) => {
            return Ok(CreatedNetwork { isolation: isolation(found, hostname), created: false });
        }
        Ok(dead) => {
            let id = dead.id.unwrap_or_default();
            let removed = engine.remove_container(&id).await;
            removed.map_err(|error| failed(&format!("Failed to purge container {id}"), &error))?;
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(failed("failed to look for the pause container", &error)),
    }
    remove_leftovers(around, alloc).await;
    let image = PauseImage::ensure(around).await?;
    let body = ContainerCreateBody {
        image: Some(image.name.clone()),
        hostname: Some(hostname.to_owned()).filter(|hostname| !hostname.is_empty()),
        labels: Some([(ALLOC_ID.to_owned(), alloc.to_string())].into()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = engine.create_container(&name, body).await;
    let id = id.map_err(|error| failed("failed to create container", &error))?;
    let started = async {
        engine.start_container(&id).await?;
        engine.inspect_container(&id).await
    };
    match started.await {
        Ok(started) => {
            around.pause_images.keep(alloc, image);
            Ok(CreatedNetwork { isolation: isolation(started, hostname), created: true })
        }
        Err(error) => {
            if let Err(error) = engine.remove_container(&id).await {
                tracing::error!(container = id, %error, "failed to remove a pause container that did not start");
            }
            Err(failed(&format!("Failed to start container {id}"), &error))
        }
    }
}

/// Removes what earlier attempts left under other names; what runs is left to the [reaper](crate::reaper).
async fn remove_leftovers(around: &Surroundings, alloc: &AllocId) {
    let found = match around.engine.containers_with_label(&format!("{ALLOC_ID}={alloc}")).await {
        Ok(found) => found,
        Err(error) => return tracing::warn!(%error, "left pause containers cannot be looked for"),
    };
    for left in found.into_iter().filter(|found| is_pause(found) && !runs(found)) {
        let id = left.id.unwrap_or_default();
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
    let named = spec.and_then(|mut spec| spec.labels.remove(CONTAINER_ID)).filter(|id| !id.is_empty());
    let id = named.unwrap_or_else(|| name(alloc));
    if let Err(error) = around.engine.stop_container(&id, STOP_GRACE).await {
        tracing::warn!(container = id, %error, "failed to stop the pause container");
    }
    let removed = around.engine.remove_container(&id).await;
    removed.map_err(|error| failed("failed to remove pause container", &error))?;
    if let Some(ledger) = Ledger::of(around).await {
        ledger.forget(&id);
    }
    around.pause_images.give_back(alloc);
    Ok(())
}

fn is_running(inspected: &ContainerInspectResponse) -> bool {
    inspected.state.as_ref().and_then(|state| state.running) == Some(true)
}

fn isolation(inspected: ContainerInspectResponse, hostname: &str) -> NetworkIsolation {
    let mut labels = BTreeMap::from([(CONTAINER_ID.to_owned(), inspected.id.unwrap_or_default())]);
    if !hostname.is_empty() {
        labels.insert(HOSTNAME.to_owned(), hostname.to_owned());
    }
    let path = inspected.network_settings.and_then(|settings| settings.sandbox_key).unwrap_or_default();
    NetworkIsolation { mode: NetworkMode::Group, path, labels, hosts: None }
}
