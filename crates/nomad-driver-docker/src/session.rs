//! One engine, and this process's state for it.

use std::sync::Arc;

use crate::{image::Images, network::GroupNetworks, process::Process, settings::CurrentSettings};
use engine::{ContainerWatch, Endpoint, Engine};

/// One engine, and this process's state for it. A task keeps the session that runs it; a new endpoint is a new session.
pub struct Session {
    /// The engine.
    pub engine: Engine,
    /// The watch of its containers.
    pub watch: Arc<ContainerWatch>,
    /// Provides images to it.
    pub images: Arc<Images>,
    /// The networks of its groups.
    pub networks: GroupNetworks,
}

impl Session {
    /// A session with the engine at an endpoint. No request is made yet.
    pub fn new(endpoint: Endpoint, settings: CurrentSettings, process: &Process) -> Self {
        let engine = Engine::new(endpoint);
        let watch = Arc::new(ContainerWatch::new(engine.clone()));
        let images = Arc::new(Images::new(engine.clone(), process.events.clone()));
        images.configure(&settings.now().plugin);
        let networks = GroupNetworks::new(engine.clone(), watch.clone(), images.clone(), settings, process);
        Self { engine, watch, images, networks }
    }
}
