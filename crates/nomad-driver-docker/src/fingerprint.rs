//! The node's fingerprint for Nomad's scheduler: at once, then every 30 s.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use nomad_plugin::driver::{Attribute, BoxStream, Fingerprint, Health};
use tokio::sync::watch;

use crate::{config::PluginConfig, host::cpuset::NOT_ROOT, session::Session, settings::CurrentSettings};
use engine::Engine;

const PERIOD: Duration = Duration::from_secs(30);

/// Whether an engine has ever answered this process, for any fingerprint stream.
#[derive(Clone, Default)]
pub(crate) struct WasHealthy(Arc<AtomicBool>);

impl WasHealthy {
    /// An engine that has answered once is no longer undetected, but unhealthy.
    fn without_engine(&self) -> Health {
        if self.0.load(Ordering::Relaxed) { Health::Unhealthy } else { Health::Undetected }
    }

    fn note(&self, health: Health) {
        if health == Health::Healthy {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// The current fingerprints of the node, endlessly. A configuration change is reported at once.
pub(crate) fn stream(
    sessions: watch::Receiver<Arc<Session>>,
    settings: CurrentSettings,
    was_healthy: WasHealthy,
) -> BoxStream<Fingerprint> {
    every(PERIOD, sessions, settings, was_healthy)
}

fn every(
    period: Duration,
    sessions: watch::Receiver<Arc<Session>>,
    settings: CurrentSettings,
    was_healthy: WasHealthy,
) -> BoxStream<Fingerprint> {
    stream::unfold(
        (sessions, settings, was_healthy, Duration::ZERO),
        move |(sessions, mut settings, was_healthy, pause)| async move {
            let _configured_or_time = tokio::time::timeout(pause, settings.changed()).await;
            let session = sessions.borrow().clone();
            let fingerprint = take(&session.engine, &settings.now().plugin, was_healthy.without_engine()).await;
            was_healthy.note(fingerprint.health);
            Some((fingerprint, (sessions, settings, was_healthy, period)))
        },
    )
    .boxed()
}

/// A single fingerprint; `without_engine` is the health if no engine answers.
pub(crate) async fn take(engine: &Engine, plugin: &PluginConfig, without_engine: Health) -> Fingerprint {
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
    let mut description = "Healthy".to_owned();
    if !rustix::process::geteuid().is_root() {
        set(".cpuset_management.disabled", Attribute::Bool(true));
        description = format!("Healthy; {NOT_ROOT}");
    }
    match engine.ask_facts().await {
        Ok(facts) => {
            set(".runtimes", Attribute::String(facts.runtimes.join(",")));
            set(".os_type", Attribute::String(facts.os_type.clone()));
        }
        Err(error) => tracing::warn!(%error, "failed to ask the engine about itself"),
    }
    match engine.bridge_address().await {
        Ok(Some(address)) => {
            set(".bridge_ip", Attribute::String(address.to_string()));
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "failed to ask the engine about its bridge"),
    }
    Fingerprint { attributes, health: Health::Healthy, description }
}

#[cfg(test)]
mod tests {
    use fake_engine::FakeEngine;

    use super::*;
    use crate::{process::Process, settings::Settings};
    use engine::Endpoint;

    fn at(engine: &FakeEngine) -> Engine {
        Engine::new(Endpoint { address: engine.address(), tls: None })
    }

    fn session(engine: &FakeEngine) -> watch::Receiver<Arc<Session>> {
        let endpoint = Endpoint { address: engine.address(), tls: None };
        let session = Session::new(endpoint, Settings::default().into(), &Process::default());
        watch::channel(Arc::new(session)).1
    }

    #[tokio::test]
    async fn health_follows_an_engine_that_comes_leaves_and_comes_again() {
        let engine = FakeEngine::start();
        engine.stop();
        let was_healthy = WasHealthy::default();
        let stream =
            || every(Duration::from_millis(1), session(&engine), Settings::default().into(), was_healthy.clone());
        let mut fingerprints = stream();

        let before = fingerprints.next().await.unwrap();
        engine.serve();
        let with = fingerprints.next().await.unwrap();
        engine.stop();
        let without = fingerprints.next().await.unwrap();
        // Like the request of a restarted agent.
        let asked_again = stream().next().await.unwrap();
        engine.serve();
        let again = fingerprints.next().await.unwrap();

        assert_eq!(before.health, Health::Undetected);
        assert_eq!(with.health, Health::Healthy);
        // A suffix lists what a non-root process cannot do.
        assert_eq!(with.description.split("; ").next(), Some("Healthy"));
        assert_eq!((without.health, asked_again.health), (Health::Unhealthy, Health::Unhealthy));
        for fingerprint in [before, without] {
            assert!(fingerprint.attributes.is_empty());
            assert!(fingerprint.description.starts_with("Failed to connect to docker daemon"), "{fingerprint:?}");
        }
        assert_eq!(again, with);
    }

    #[tokio::test]
    async fn attributes_report_what_the_operator_allows_and_what_the_engine_is() {
        let engine = FakeEngine::start();
        let mut plugin = PluginConfig { allow_privileged: true, pids_limit: Some(500), ..PluginConfig::default() };
        plugin.volumes.enabled = true;

        let strict = take(&at(&engine), &PluginConfig::default(), Health::Undetected).await.attributes;
        let generous = take(&at(&engine), &plugin, Health::Undetected).await.attributes;

        for only_where_allowed in ["privileged.enabled", "pids.limit", "volumes.enabled"] {
            assert_eq!(strict.get(&format!("driver.docker.{only_where_allowed}")), None);
        }
        assert_eq!(generous["driver.docker.privileged.enabled"], Attribute::Bool(true));
        assert_eq!(generous["driver.docker.volumes.enabled"], Attribute::Bool(true));
        assert_eq!(generous["driver.docker.pids.limit"], Attribute::Int(500, String::new()));
        assert_eq!(strict["driver.docker"], Attribute::Bool(true));
        assert_eq!(strict["driver.docker.os_type"], Attribute::String("linux".into()));
        let text = |name: &str| match &strict[&format!("driver.docker.{name}")] {
            Attribute::String(text) => text.clone(),
            other => panic!("{name} is {other:?}"),
        };
        assert!(text("runtimes").split(',').any(|runtime| runtime == "runc"), "{}", text("runtimes"));
        assert!(text("version").starts_with(|first: char| first.is_ascii_digit()), "{}", text("version"));
        assert!(text("bridge_ip").parse::<std::net::IpAddr>().is_ok(), "{}", text("bridge_ip"));
    }
}
