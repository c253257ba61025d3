//! The driver's garbage: what its node has and nobody owns, and what nodes have whose drivers do not run.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use image_service::{Collect, GarbageService, Home, Leftover};
use tokio::sync::watch;

use crate::{
    config::PluginConfig,
    garbage,
    node::{Identity, Node},
    process::Process,
    session::Session,
    settings::{CurrentSettings, Settings},
    task::{TaskStore, Tasks},
};

/// The garbage of a driver's node, and of nodes whose drivers do not run.
pub struct DriverGarbage {
    sessions: watch::Receiver<Arc<Session>>,
    tasks: Tasks,
}

impl DriverGarbage {
    /// For a driver with these tasks, whose sessions follow one another.
    pub(super) fn new(sessions: watch::Receiver<Arc<Session>>, tasks: Tasks) -> Self {
        Self { sessions, tasks }
    }

    fn session(&self) -> Arc<Session> {
        self.sessions.borrow().clone()
    }

    /// Collects for a node whose driver does not run; `state_dir` is that driver's.
    async fn collect_for(&self, request: &Collect, state_dir: Option<&Path>) -> Result<Vec<Leftover>, String> {
        let claim = Node::default();
        if let Some(state_dir) = state_dir
            && !claim.attempt(state_dir).map_err(|error| format!("{}: {error}", state_dir.display()))?
        {
            return Err(format!("another driver uses {}", state_dir.display()));
        }
        let Settings { plugin, machine } = Settings::clone(&self.tasks.settings.now());
        let state = state_dir.map_or_else(|| plugin.state_dir.clone(), Path::to_owned);
        let plugin = PluginConfig { state_dir: state, ..plugin };
        let endpoint = plugin.endpoint.clone();
        let settings = CurrentSettings::from(Settings { plugin, machine });
        let node = Node::from(Identity { id: request.node.clone(), ..Identity::default() });
        let process = Process { node, ..Process::default() };
        let session = Session::new(endpoint, settings.clone(), &process);
        session.images.pin(&self.session().images.pinned_names()).await;
        // The images of living allocations are wanted again when their tasks restart.
        if let Some(state_dir) = state_dir.filter(|_| request.claims.allocs.is_empty()) {
            session.images.adopt(state_dir).await.map_err(|error| error.to_string())?;
        }
        let tasks = Tasks { store: TaskStore::default(), settings, process };
        let home = garbage::Home { tasks: &tasks, session: &session, unattended: state_dir };
        garbage::collect(&home, request).await
    }
}

impl GarbageService for DriverGarbage {
    async fn collect(&self, request: Collect) -> Result<Vec<Leftover>, String> {
        match &request.home {
            Home::Own => {
                let session = self.session();
                // The reaper removes its records.
                let home = garbage::Home { tasks: &self.tasks, session: &session, unattended: None };
                garbage::collect(&home, &request).await
            }
            Home::StateDir(state_dir) => self.collect_for(&request, Some(state_dir)).await,
            Home::Lost => self.collect_for(&request, None).await,
        }
    }

    async fn nodes(&self, below: PathBuf) -> Result<Vec<String>, String> {
        garbage::nodes(&self.session().engine, &below).await
    }
}
