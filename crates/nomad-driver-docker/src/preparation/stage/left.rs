//! The stages whose containers no longer exist: found, and removed.

use std::{fs::File, path::PathBuf};

use super::{Staged, Stages};
use crate::{labels::ALLOC_ID, settings::Settings};
use engine::{Engine, ListedContainer};

/// Removes the stages whose containers no longer exist.
pub async fn sweep(engine: &Engine, settings: &Settings) {
    for (stage, _locked) in find_left(engine, settings, |_| true).await {
        tracing::info!(stage = %stage.0.display(), "removing the mounts of a removed container");
        stage.remove();
    }
}

/// The paths of the stages that no container has its mounts from, apart from those that are about to be removed.
pub async fn left(engine: &Engine, settings: &Settings, remains: impl Fn(&ListedContainer) -> bool) -> Vec<PathBuf> {
    find_left(engine, settings, remains).await.into_iter().map(|(stage, _locked)| stage.0).collect()
}

/// The stages that none of the containers that remain has its mounts from, each locked.
async fn find_left(
    engine: &Engine,
    settings: &Settings,
    remains: impl Fn(&ListedContainer) -> bool,
) -> Vec<(Staged, File)> {
    let Some(stages) = Stages::of(engine, settings).await else { return Vec::new() };
    // Locked before the containers are listed, so that stages committed meanwhile are not among them.
    let found = async {
        let unlocked = stages.unlocked().map_err(|error| error.to_string())?;
        if unlocked.is_empty() {
            return Ok(unlocked);
        }
        let mut found = engine.containers_with_label(ALLOC_ID).await.map_err(|error| error.to_string())?;
        found.retain(remains);
        Ok::<_, String>(stages.left(&found, unlocked))
    };
    found.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to look for mounts of removed containers");
        Vec::new()
    })
}
