//! The engine as a test sees it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    clock,
    events::Event,
    journal::{Journal, Request},
    model::{Container, Exec, Image, Network, OnSignal},
    pattern::Pattern,
    script::{On, Scripts},
    tasks::Tasks,
    waiting,
    world::{Emit, Exit, World},
};

/// An engine. Clones are the same engine, which is dropped with the last clone that a test holds.
#[derive(Clone, Debug)]
pub struct FakeEngine {
    inner: Arc<Inner>,
    /// The engine ends with the last of these.
    _alive: Option<Arc<Alive>>,
}

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    journal: Journal,
    scripts: Scripts<FakeEngine>,
    connections: Tasks,
    /// The clock's steps since the last request.
    quiet: watch::Sender<u64>,
    socket: PathBuf,
    directory: TempDir,
}

/// Ends the engine.
#[derive(Debug)]
struct Alive {
    connections: Tasks,
    clock: Tasks,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.connections.abort();
        self.clock.abort();
    }
}

/// A precondition of a test; a test that names a missing object is wrong.
const THERE: &str = "the test names something that the engine has";

impl FakeEngine {
    /// An engine that does not serve yet.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("fake-engine").tempdir().expect("a temporary directory");
        let root = directory.path().join("root");
        std::fs::create_dir(&root).expect("a directory for the engine's data");
        let (connections, clock) = (Tasks::default(), Tasks::default());
        let inner = Inner {
            world: Mutex::new(World::new(root.display().to_string())),
            journal: Journal::default(),
            scripts: Scripts::default(),
            connections: connections.clone(),
            quiet: watch::Sender::default(),
            socket: directory.path().join("docker.sock"),
            directory,
        };
        clock.spawn(clock::pass(inner.journal.changed(), inner.quiet.clone()));
        Self { inner: Arc::new(inner), _alive: Some(Arc::new(Alive { connections, clock })) }
    }

    /// A clone that does not keep the engine alive.
    pub(crate) fn weak(&self) -> Self {
        Self { inner: self.inner.clone(), _alive: None }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// The endpoint: `unix://...`
    pub fn address(&self) -> String {
        format!("unix://{}", self.inner.socket.display())
    }

    /// A directory that is removed with the engine.
    pub fn directory(&self) -> &Path {
        self.inner.directory.path()
    }

    // ---- it is stopped

    /// Removes the socket and closes all connections. Containers keep running.
    pub fn stop(&self) {
        let _not_there = std::fs::remove_file(&self.inner.socket);
        self.inner.connections.abort();
    }

    // ---- its script and its journal

    /// Changes the answers to requests such as `POST /containers/*/start`.
    pub fn on(&self, requests: &str) -> On<'_, Self> {
        On { scripts: &self.inner.scripts, pattern: Pattern::new(requests) }
    }

    /// Answers all requests as usual again.
    pub fn forget_script(&self) {
        self.inner.scripts.clear();
    }

    /// The recorded requests that match, such as `POST /containers/*/start`; `*` matches all.
    pub fn requests(&self, requests: &str) -> Vec<Request> {
        self.inner.journal.matching(&Pattern::new(requests))
    }

    /// Waits until nothing has been asked for 100 ms: what an answer, an event or the time has set off is done.
    pub async fn quiet(&self) {
        let quiet = &self.inner.quiet;
        quiet.send_replace(0);
        waiting::until(quiet.subscribe(), "quiet", || (*quiet.borrow() >= clock::QUIET).then_some(())).await;
    }

    /// Starts a new journal.
    pub fn forget_requests(&self) {
        self.inner.journal.clear();
    }

    /// Waits until such a request has arrived, and returns the first.
    ///
    /// # Panics
    ///
    /// If none arrives within two minutes.
    pub async fn asked(&self, requests: &str) -> Request {
        self.asked_times(requests, 1).await.swap_remove(0)
    }

    /// Waits until so many such requests have arrived.
    ///
    /// # Panics
    ///
    /// If they do not arrive within two minutes.
    pub async fn asked_times(&self, requests: &str, times: usize) -> Vec<Request> {
        let found = || Some(self.requests(requests)).filter(|found| found.len() >= times);
        waiting::until(self.inner.journal.changed(), &format!("{times} of {requests:?}"), found).await
    }

    /// Waits until a condition holds; it is checked at each change of containers and at each event.
    ///
    /// # Panics
    ///
    /// If it does not hold within two minutes.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let changed = self.world().log.subscribe();
        waiting::until(changed, what, || holds(self).then_some(())).await;
    }

    // ---- its images, networks and commands

    /// Adds an image to the engine. Returns its id.
    pub fn add_image(&self, image: Image) -> String {
        let id = image.id.clone();
        let mut world = self.world();
        world.images.push(image);
        world.log.changed();
        id
    }

    /// Adds an image to the registry, so that it can be pulled.
    pub fn add_to_registry(&self, image: Image) {
        self.world().registry.push(image);
    }

    /// The engine's images.
    pub fn images(&self) -> Vec<Image> {
        self.world().images.clone()
    }

    /// Gives an image a name, taking it from any other image.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn tag(&self, image: &str, name: &str) {
        let mut world = self.world();
        let image = world.image(image).cloned().expect(THERE);
        world.name_image(&image, name);
    }

    /// Adds a network to the engine. Returns its id.
    pub fn add_network(&self, name: &str) -> String {
        let mut world = self.world();
        let id = world.id();
        world.networks.push(Network { id: id.clone(), name: name.to_owned() });
        id
    }

    /// How commands in containers run from now on.
    pub fn set_exec(&self, exec: Exec) {
        self.world().exec = exec;
    }

    /// How processes of containers created from now on react to a signal.
    pub fn set_on_signal(&self, on_signal: OnSignal) {
        self.world().on_signal = on_signal;
    }

    // ---- its containers

    /// All containers.
    pub fn containers(&self) -> Vec<Container> {
        self.world().containers.clone()
    }

    /// A container, by id or name.
    pub fn container(&self, name: &str) -> Option<Container> {
        self.world().container(name).ok().cloned()
    }

    /// Creates a container as another client and does not start it. Returns its id.
    ///
    /// # Panics
    ///
    /// If the engine refuses.
    pub fn create(&self, name: &str, request: serde_json::Value) -> String {
        self.world().create(name, request).unwrap_or_else(|error| panic!("{}", error.message))
    }

    /// Starts a container as another client.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn run(&self, name: &str) {
        self.world().start(name).unwrap_or_else(|error| panic!("{}", error.message));
    }

    /// Changes the state of a container, without an event.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Container)) {
        let mut world = self.world();
        change(world.container_mut(name).expect(THERE));
        world.log.changed();
    }

    /// Makes a container's process exit by itself.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn exit(&self, name: &str, code: i64) {
        self.world().exit(name, Exit { code, oom_killed: false }, Emit::Yes).expect(THERE);
    }

    /// Like [`exit`](Self::exit), without an event.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn exit_without_event(&self, name: &str, code: i64) {
        let mut world = self.world();
        world.exit(name, Exit { code, oom_killed: false }, Emit::No).expect(THERE);
        world.log.changed();
    }

    /// Makes the OOM killer kill a container's process.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn run_out_of_memory(&self, name: &str) {
        self.world().exit(name, Exit { code: 137, oom_killed: true }, Emit::Yes).expect(THERE);
    }

    /// Removes a container as another client, whether it is running or not.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn remove(&self, name: &str) {
        self.world().remove(name, true).expect(THERE);
    }

    /// Disconnects a container from a network as another client.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn disconnect(&self, name: &str, network: &str) {
        self.world().disconnect(name, network).expect(THERE);
    }

    // ---- its events

    /// Sends an event to all subscriptions.
    pub fn emit(&self, event: Event) {
        self.world().log.push(event);
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.world().log.all().to_vec()
    }

    // ---- for the calls

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.inner.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    pub(crate) fn scripts(&self) -> &Scripts<Self> {
        &self.inner.scripts
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.inner.connections
    }
}
