//! The operator's settings, always read at the moment of use, because an agent may reconfigure a running driver.

use std::{path::Path, sync::Arc};

use tokio::sync::watch;

use crate::{config::PluginConfig, machine::Machine};

/// A configuration and the machine.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The plugin's configuration.
    pub plugin: PluginConfig,
    /// The machine's processors.
    pub machine: Machine,
}

/// The current settings. Clones see each change.
#[derive(Clone, Debug)]
pub struct CurrentSettings(watch::Receiver<Arc<Settings>>);

/// The writer of the settings.
#[derive(Debug)]
pub(crate) struct SettingsWriter(watch::Sender<Arc<Settings>>);

impl Settings {
    /// The directory of the driver's own state.
    pub fn state_dir(&self) -> &Path {
        &self.plugin.state_dir
    }
}

impl CurrentSettings {
    /// The current settings.
    pub fn now(&self) -> Arc<Settings> {
        self.0.borrow().clone()
    }

    /// Waits for a change; forever if nobody can change them any more.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl SettingsWriter {
    /// The initial settings.
    pub(crate) fn new(settings: Settings) -> Self {
        Self(watch::Sender::new(Arc::new(settings)))
    }

    /// A reader that follows each change.
    pub(crate) fn current(&self) -> CurrentSettings {
        CurrentSettings(self.0.subscribe())
    }

    /// The current settings.
    pub(crate) fn now(&self) -> Arc<Settings> {
        self.0.borrow().clone()
    }

    /// Replaces the settings.
    pub(crate) fn replace(&self, settings: Settings) {
        self.0.send_replace(Arc::new(settings));
    }
}

impl From<Settings> for CurrentSettings {
    /// Settings that never change.
    fn from(settings: Settings) -> Self {
        Self(watch::channel(Arc::new(settings)).1)
    }
}
