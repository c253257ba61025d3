//! What the lives share: an engine, a registry, images.

use std::sync::Mutex;

use conformance::{
    dockerd::{Dockerd, Trust},
    image,
    registry::Registry,
};

/// The image with a volume of its own.
pub(crate) const WITH_VOLUME: &str = "longshore-test/with-volume:1";

/// An engine of the test's own, so that all that is left in it is the driver's.
pub(crate) struct World {
    // Before the engine, in whose network it is.
    registry: Mutex<Registry>,
    _trust: Trust,
    pub(crate) engine: Dockerd,
}

impl World {
    pub(crate) fn make() -> Self {
        let engine = Dockerd::start();
        let container = engine.run(&["create", &image()]);
        engine.run(&["commit", "--change", "VOLUME /data", container.trim(), WITH_VOLUME]);
        engine.run(&["rm", container.trim()]);
        let registry = Registry::start_tls(&engine);
        let trust = Trust::begin(&registry.address, &registry.authority);
        Self { registry: Mutex::new(registry), _trust: trust, engine }
    }

    /// Pushes an image that nobody has.
    pub(crate) fn push(&self, name: &str) -> String {
        self.registry.lock().unwrap().push_new(name)
    }

    /// What is in the engine that was not there when it began.
    pub(crate) fn left(&self) -> Vec<String> {
        let lists: [&[&str]; 2] = [
            &["ps", "--all", "--format", "container {{.Names}} {{.Status}}"],
            &["volume", "ls", "--format", "volume {{.Name}}"],
        ];
        lists.iter().flat_map(|list| self.engine.run(list).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}
