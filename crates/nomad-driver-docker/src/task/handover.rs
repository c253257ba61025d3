//! How a task's sources are passed to the engine. It is held from the check until the engine has started the container.

use std::path::PathBuf;

use nomad_plugin::driver::{DriverError, TaskConfig};

use super::{
    TaskStore,
    neighbours::{self, Turn},
};
use crate::{
    preparation::host_paths::HandoverMode,
    preparation::stage::{self, Stage},
    settings::Settings,
};
use engine::Engine;

/// How a task's sources are passed to the engine.
pub(super) enum Handover {
    /// Mounted where no task sees them.
    Staged(Stage),
    /// By name; other tasks can change those below these paths.
    ByName { writable: Vec<PathBuf>, _turn: Turn },
    /// As the job has them.
    Trusted,
}

impl Handover {
    pub(super) async fn of(
        engine: &Engine,
        settings: &Settings,
        store: &TaskStore,
        task: &TaskConfig,
    ) -> Result<Self, DriverError> {
        if settings.plugin.volumes.enabled {
            return Ok(Self::Trusted);
        }
        let stage = stage::begin(engine, settings, task).await;
        let stage = stage.map_err(|error| DriverError::recoverable(format!("failed to stage mounts: {error}")))?;
        if let Some(stage) = stage {
            return Ok(Self::Staged(stage));
        }
        let turn = store.turn(&task.alloc_id).await;
        Ok(Self::ByName { writable: neighbours::writable(engine, task).await?, _turn: turn })
    }

    pub(super) fn mode(&mut self) -> HandoverMode<'_> {
        match self {
            Self::Staged(stage) => HandoverMode::Staged(stage),
            Self::ByName { writable, .. } => HandoverMode::ByName(writable),
            Self::Trusted => HandoverMode::Trusted,
        }
    }
}
