//! What the node can do, as Nomad's scheduler sees it: at once, then every 30 s.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use nomad_plugin::driver::{Attribute, BoxStream, Fingerprint, Health};

use crate::{config::PluginConfig, engine::Engine};

const PERIOD: Duration = Duration::from_secs(30);

/// Fingerprints, without an end.
pub fn stream(engine: Engine, plugin: Arc<PluginConfig>) -> BoxStream<Fingerprint> {
    let first = (engine, plugin, Health::Undetected, Duration::ZERO);
    stream::unfold(first, |(engine, plugin, without_engine, pause)| async move {
        tokio::time::sleep(pause).await;
        let fingerprint = take(&engine, &plugin, without_engine).await;
        // An engine that was seen once is not undetected any more, but unhealthy.
        let without_engine = match fingerprint.health {
            Health::Healthy => Health::Unhealthy,
            _ => without_engine,
        };
        Some((fingerprint, (engine, plugin, without_engine, PERIOD)))
    })
    .boxed()
}

/// One fingerprint; `without_engine` is the health where no engine answers.
pub async fn take(engine: &Engine, plugin: &PluginConfig, without_engine: Health) -> Fingerprint {
    let version = match engine.version().await {
        Ok(version) => version,
        Err(error) => {
            let description = format!("Failed to connect to docker daemon: {error}");
            return Fingerprint { attributes: BTreeMap::new(), health: without_engine, description };
        }
    };
    let mut attributes = BTreeMap::new();
    let mut set = |name: &str, value: Attribute| attributes.insert(format!("driver.docker{name}"), value);
    set("", Attribute::Bool(true));
    set(".version", Attribute::String(version));
    if plugin.allow_privileged {
        set(".privileged.enabled", Attribute::Bool(true));
    }
    if let Some(limit) = plugin.pids_limit {
        set(".pids.limit", Attribute::Int(limit, String::new()));
    }
    if plugin.volumes.enabled {
        set(".volumes.enabled", Attribute::Bool(true));
    }
    if !rustix::process::geteuid().is_root() {
        set(".cpuset_management.disabled", Attribute::Bool(true));
    }
    match engine.ask_facts().await {
        Ok(facts) => {
            set(".runtimes", Attribute::String(facts.runtimes.join(",")));
            set(".os_type", Attribute::String(facts.os_type.clone()));
        }
        Err(error) => tracing::warn!(%error, "the engine does not tell about itself"),
    }
    match engine.bridge_address().await {
        Ok(Some(address)) => {
            set(".bridge_ip", Attribute::String(address));
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the engine does not tell about its bridge"),
    }
    Fingerprint { attributes, health: Health::Healthy, description: "Healthy".to_owned() }
}
