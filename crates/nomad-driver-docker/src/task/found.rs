//! What belongs to a task's container, as the engine says: at once, or as soon as it answers.
//!
//! ```text
//! looked at                              -> found
//! no answer -> asked again and again     -> found
//!                                        -> not there -> exited
//! ```

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use nomad_plugin::driver::TaskConfig;
use tokio::time::timeout;

use super::{
    ANSWER,
    connections::Connections,
    exit::Exit,
    log_source::{LogSource, Subject},
    lost_files,
    state::Logger,
};
use crate::{
    image::ImageLease,
    network::Membership,
    preparation::stage::{Staged, Stages},
    process::Process,
    session::Session,
    settings::CurrentSettings,
};
use background::{Backoff, persevere};
use engine::{EngineError, EngineFacts, Inspected, WatchHandle, within};
use logs::LogTask;

/// The pauses between two questions while the engine does not answer. It is also asked when the subscription to its events begins
/// again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What the engine says of a container, for all that ask for it.
#[derive(Default)]
pub(super) struct Details {
    /// When it started.
    pub(super) started_at: Option<SystemTime>,
    /// Its first process, on the engine's host.
    pub(super) pid: Option<i64>,
    /// The signal that asks it to exit; empty is the engine's default.
    pub(super) stop_signal: String,
    /// The lease of its image.
    pub(super) image: Option<ImageLease>,
    /// The stage of its mounts.
    pub(super) stage: Option<Staged>,
}

/// What a container has while it is watched.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) networks: Connections,
    pub(super) membership: Option<Membership>,
    pub(super) logs: Option<LogTask>,
    /// Its exit, if it has already exited.
    pub(super) ended: Option<Exit>,
}

/// A container of which the engine has said how it is.
#[derive(Default)]
pub(super) struct Found {
    pub(super) details: Details,
    pub(super) attached: Attached,
}

/// What is known of a task's container when its watching begins.
pub(super) enum Known {
    Found(Box<Found>),
    Later(Box<Later>),
}

/// A container of which the engine has not said yet how it is.
pub(super) struct Later {
    pub(super) finder: Finder,
    pub(super) config: TaskConfig,
    pub(super) origin: Origin,
}

/// Where a container comes from.
pub(super) enum Origin {
    /// This process started it, and holds this for it.
    Started { image: ImageLease, membership: Option<Membership>, logs: Option<LogTask> },
    /// An earlier process started it. The handle may name a logger of the built-in driver.
    Recovered(Option<Logger>),
}

/// An answer of the engine.
pub(super) struct Look {
    pub(super) inspected: Inspected,
    facts: Arc<EngineFacts>,
}

/// Finds out what belongs to a container.
#[derive(Clone)]
pub(super) struct Finder {
    pub(super) process: Process,
    pub(super) settings: CurrentSettings,
    pub(super) session: Arc<Session>,
}

impl Finder {
    /// Asks the engine how a container is.
    pub(super) async fn look(&self, container: &str) -> Result<Look, EngineError> {
        let engine = &self.session.engine;
        Ok(Look { inspected: engine.inspect_container(container).await?, facts: engine.facts().await? })
    }

    /// All that belongs to a container.
    pub(super) async fn found(&self, config: &TaskConfig, container: &str, look: &Look, origin: Origin) -> Found {
        let (session, inspected) = (&self.session, &look.inspected);
        let stages = Stages::of(&session.engine, &self.settings.now()).await;
        let mut details =
            Details { stage: stages.and_then(|stages| stages.of_mounts(&inspected.mounts)), ..Details::of(inspected) };
        let ended = Exit::of(&inspected.state);
        let attached = match origin {
            Origin::Started { image, membership, logs } => {
                details.image = Some(image);
                let networks = Connections::of(inspected);
                networks.note(config, container);
                Attached { networks, membership, logs, ended }
            }
            Origin::Recovered(logger) => {
                let logs = self.adopted_logs(config, container, look, logger.as_ref()).await;
                details.image = session.images.lease(&inspected.image, &inspected.image_name).await;
                if let Some(ledger) = session.networks.ledger().await {
                    ledger.note_joined(config);
                }
                let networks = Connections::since_the_start(config, container, inspected);
                lost_files::restore(config, inspected, details.stage.as_ref()).await;
                Attached { networks, membership: session.networks.rejoin(config), logs, ended }
            }
        };
        Found { details, attached }
    }

    /// The log of a container that an earlier process started. A failure is reported as a task event.
    async fn adopted_logs(
        &self,
        config: &TaskConfig,
        container: &str,
        look: &Look,
        logger: Option<&Logger>,
    ) -> Option<LogTask> {
        let subject = Subject { task: config, container, driver: &look.inspected.log_driver };
        let source = LogSource::adopted(&self.process, &self.settings.now(), subject, logger).await;
        source.collect(&self.session.engine, &look.facts).await.ok().flatten()
    }
}

impl Details {
    fn of(inspected: &Inspected) -> Self {
        Self {
            started_at: inspected.started_at,
            pid: inspected.pid(),
            stop_signal: inspected.stop_signal.clone(),
            ..Self::default()
        }
    }
}

impl Later {
    /// Waits until the engine answers.
    pub(super) async fn found(self, container: &str, handle: &WatchHandle) -> Found {
        let Self { finder, config, origin } = self;
        let asked = persevere("the first look at a task's container", || finder.answer(container, handle)).await;
        let Some(look) = asked else {
            let logs = if let Origin::Started { logs, .. } = origin { logs } else { None };
            let attached = Attached { logs, ended: Some(Exit::removed()), ..Attached::default() };
            return Found { attached, ..Found::default() };
        };
        tracing::info!(container, task = config.id.as_str(), "Docker answers for the container again");
        let found = AssertUnwindSafe(finder.found(&config, container, &look, origin)).catch_unwind().await;
        // Its exit is reported whatever happens to the rest.
        found.unwrap_or_else(|_| {
            tracing::error!(container, "the recovery of a task panicked; only its exit is watched");
            let ended = Exit::of(&look.inspected.state);
            let attached = Attached { ended, ..Attached::default() };
            Found { details: Details::of(&look.inspected), attached }
        })
    }
}

impl Finder {
    /// The engine's answer about a container; `None` if it is not there.
    async fn answer(&self, container: &str, handle: &WatchHandle) -> Option<Look> {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            match within(ANSWER, self.look(container)).await {
                Ok(look) => return Some(look),
                Err(error) if error.is_not_found() => return None,
                Err(error) => tracing::debug!(container, %error, "Docker does not answer for the container yet"),
            }
            let _woken_or_time = timeout(backoff.pause(), handle.notified()).await;
        }
    }
}
