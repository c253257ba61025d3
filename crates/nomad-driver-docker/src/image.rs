//! Provides a task's image: found locally, loaded from an archive, or pulled.

mod access;
mod archive;
mod auth;
mod before;
mod built_in;
mod inventory;
mod lease;
mod ledger;
mod list;
mod load;
mod names;
mod notices;
mod progress;
mod pull;
mod pulls;
mod queue;
mod replaced;
mod request;
mod reserved;
mod room;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::OnceLock,
};

pub use archive::{Bounds, Checked, Flaw};
use before::Before;
pub use built_in::PAUSE_IMAGE;
pub use lease::ImageLease;
use lease::Leases;
use ledger::ImageLedger;
pub use load::Archive;
use nomad_plugin::driver::DriverError;
use notices::{Notice, Notices};
pub use progress::Progress;
pub use pull::{Limits, PullState};
pub use pulls::Puller;
use pulls::Pulls;
use queue::Queue;
pub use request::{Freshness, ImageRequest};
pub use reserved::Reserved;
use tokio::{sync::watch, time::Instant};

use crate::reference::ImageReference;
use crate::{
    config::{Auth, PluginConfig},
    events::{EventSubject, TaskEvents},
};
use background::Background;
use engine::{ConfigSize, Credentials, Engine, EngineError, MOST_OF_AN_IMAGE};

/// How many archives are read at once: reading one may take several hundred MiB of memory.
const LOADS: usize = 2;

/// An image that the engine has, leased as long as this lives.
#[derive(Clone, Debug)]
pub struct LocalImage {
    /// Its id, `sha256:...`.
    pub id: String,
    /// The requested name, from which containers are created.
    pub name: String,
    /// The lease that protects it from removal.
    pub lease: ImageLease,
    /// How many bytes were downloaded for it; `None` if it was local or was loaded.
    pub downloaded: Option<u64>,
    /// Whether containers may be created from it.
    pub config: ConfigSize,
}

/// Provides the images of one engine.
pub struct Images {
    engine: Engine,
    events: TaskEvents,
    pulls: Pulls,
    loads: Queue,
    leases: Leases,
    collection: OnceLock<Background>,
}

impl Images {
    /// Provides images to `engine`, and reports pulls to `events`.
    pub fn new(engine: Engine, events: TaskEvents) -> Self {
        let leases = Leases::default();
        let pulls = Pulls::new(engine.clone(), leases.clone(), PluginConfig::default().max_parallel_pulls);
        Self { engine, events, pulls, loads: Queue::new(LOADS), leases, collection: OnceLock::new() }
    }

    /// Applies the operator's settings.
    pub fn configure(&self, plugin: &PluginConfig) {
        let gc = &plugin.gc;
        self.pulls.set_at_once(plugin.max_parallel_pulls);
        self.leases.set_delay(gc.image.then_some(gc.image_delay));
    }

    /// Starts to remove unused images that this driver pulled; those that earlier processes pulled are recorded in `state_dir`.
    pub fn collect_garbage(&self, state_dir: &Path) {
        self.collection.get_or_init(|| {
            let (leases, engine, state_dir) = (self.leases.clone(), self.engine.clone(), state_dir.to_owned());
            Background::persevere("the removal of unused images", move || {
                leases.clone().collect_garbage(engine.clone(), state_dir.clone())
            })
        });
    }

    /// Takes over the images that a driver recorded in a state directory, without removing any by itself.
    pub async fn adopt(&self, state_dir: &Path) -> Result<(), EngineError> {
        let engine = self.engine.ask_facts().await?;
        self.leases.adopt(ImageLedger::new(state_dir, &engine.name));
        Ok(())
    }

    /// The images that this driver pulled and would remove later, each with the names under which it was pulled.
    pub fn unused(&self) -> Vec<(String, BTreeSet<String>)> {
        self.leases.unused()
    }

    /// Removes an unused image now; the error is a text for people.
    pub async fn remove_unused(&self, id: &str) -> Result<(), String> {
        self.leases.remove_unused(&self.engine, id).await
    }

    /// The names of pinned images.
    pub fn pinned_names(&self) -> Vec<String> {
        self.leases.pinned().into_iter().collect()
    }

    /// Leases the image of a container that an earlier process started.
    pub async fn lease(&self, id: &str, name: &str) -> Option<ImageLease> {
        self.leases.take_of_container(id, name).await
    }

    /// Pins the images of these names, so that they are not removed. The list replaces that of the last call.
    pub async fn pin(&self, names: &[String]) {
        self.leases.pin(names).await;
    }

    /// The state of each pull in progress, by image name.
    pub fn pulls(&self) -> Vec<(String, PullState)> {
        self.pulls.states()
    }

    /// Ensures that the engine has the image.
    pub async fn ensure(&self, request: &ImageRequest) -> Result<LocalImage, DriverError> {
        self.ensure_watched(request, None).await
    }

    /// Ensures that the engine has the image. `watcher` receives each state of a pull.
    pub async fn ensure_watched(
        &self,
        request: &ImageRequest,
        watcher: Option<&watch::Sender<Option<PullState>>>,
    ) -> Result<LocalImage, DriverError> {
        let found = self.find(request, watcher).await?;
        // It is recorded, and so removed like any other.
        if found.config == ConfigSize::TooLarge {
            let problem = format!("its configuration is larger than {} MiB", MOST_OF_AN_IMAGE >> 20);
            return Err(DriverError::fatal(format!("image {:?} cannot be used: {problem}", request.image.written())));
        }
        Ok(found)
    }

    async fn find(
        &self,
        request: &ImageRequest,
        watcher: Option<&watch::Sender<Option<PullState>>>,
    ) -> Result<LocalImage, DriverError> {
        let image = &request.image;
        if request.freshness == Freshness::Local && !image.is_latest() {
            match look(&self.engine, &self.leases, image).await {
                Ok(found) => {
                    if request.verify_access {
                        self.verify_access(request, &found).await?;
                    }
                    return Ok(found);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(inspect_failed(&error)),
            }
        }
        if let Some(instead) = reserved::instead(request)? {
            let found = self.pull(&instead, watcher).await?;
            if request.verify_access {
                self.verify_access(request, &found).await?;
            }
            return Ok(found);
        }
        if let Some(archive) = &request.archive {
            return self.load(request, archive).await;
        }
        self.pull(request, watcher).await
    }

    /// Whether this driver pulled the image under that name.
    pub fn has_pulled(&self, id: &str, name: &ImageReference) -> bool {
        self.leases.has_pulled(id, name)
    }

    /// Whether the registry permits the task to use a local image.
    async fn verify_access(&self, request: &ImageRequest, found: &LocalImage) -> Result<(), DriverError> {
        let image = &request.image;
        let inspected = self.engine.inspect_image(&found.id).await.map_err(|error| inspect_failed(&error))?;
        let mut outcome = Ok(());
        for name in access::names(image, &inspected.digests) {
            // A job's password is for the registry that the job names.
            let own = request.auth.as_ref().filter(|_| name.registry() == image.registry());
            let credentials = self.credentials(request, &name, own).await?;
            match self.engine.ask_registry(&name.to_string(), credentials).await {
                Ok(()) => return Ok(()),
                Err(error) => outcome = Err(access::refused(image.written(), &error)),
            }
        }
        outcome
    }

    async fn load(&self, request: &ImageRequest, archive: &Archive) -> Result<LocalImage, DriverError> {
        let (engine, leases, image) = (&self.engine, &self.leases, &request.image);
        let name = image.written();
        let ticket = self.loads.enter(request.puller.job());
        ticket.turn(|place| tracing::debug!(image = name, place, "waiting to load the image")).await;
        let mut before = Before::look(engine, leases, image).await.map_err(|error| inspect_failed(&error))?;
        let most = room::of(engine, request.load_max).await;
        // It is large, because it reads the archive.
        let checked = Box::pin(archive.load(engine, image, most, request.limits.whole, || before.begin())).await?;
        let found = before.pulled_by_us(engine).await.map_err(|error| inspect_failed(&error))?;
        let inspected = engine.inspect_image(&found.id).await.map_err(|error| inspect_failed(&error))?;
        if checked.has_layers(&inspected.layers) {
            leases.replaced(&found.id, name, before.named.as_ref().map(|named| named.id.as_str()));
            return Ok(found);
        }
        // Engines parse JSON more leniently than this driver.
        if let Err(error) = engine.remove_image(name).await {
            tracing::error!(image = name, %error, "failed to remove an image with the layers of another one");
        }
        Err(DriverError::fatal(format!("the image archive of {name:?} names layers that are not in it")))
    }

    async fn pull(
        &self,
        request: &ImageRequest,
        watcher: Option<&watch::Sender<Option<PullState>>>,
    ) -> Result<LocalImage, DriverError> {
        let credentials = self.credentials(request, &request.image, request.auth.as_ref()).await?;
        let ImageRequest { image, limits, .. } = request;
        let mut notices = Notices::new(Instant::now());
        let on_state = |state: &PullState, now| {
            if let Some(watcher) = watcher {
                watcher.send_replace(Some(state.clone()));
            }
            if let (Some(notice), Some(owner)) = (notices.of(state, now), &request.owner) {
                self.report(owner, notice, image);
            }
            notices.due()
        };
        let pull = self.pulls.join_or_begin(image, credentials, limits.silence, &request.puller);
        let pulled = pull.wait(image.written(), limits.whole, on_state).await?;
        // The owner knows of the pull, and this is how it ended. If no pull was started, an event is not worthwhile: a host
        // keeps few.
        if let (None, Some(owner)) = (pulled.downloaded, &request.owner) {
            self.events.emit(owner, "Image already present", annotation(image.written()));
        }
        Ok(pulled)
    }

    /// The credentials for a task's registry request; `own` are the task's. The owner is notified of their source.
    async fn credentials(
        &self,
        request: &ImageRequest,
        reference: &ImageReference,
        own: Option<&Auth>,
    ) -> Result<Option<Credentials>, DriverError> {
        let say = |text: String| {
            if let Some(owner) = &request.owner {
                self.events.emit(owner, text, annotation(request.image.written()));
            }
        };
        match auth::find(reference, own, &request.plugin_auth).await {
            Ok(found) => Ok(found.map(|found| {
                say(format!("Registry credentials for {:?} taken from {}", reference.registry(), found.source));
                found.credentials
            })),
            Err(error) if request.auth_soft_fail => {
                tracing::debug!(%error, "asking the registry without credentials");
                say(format!("Registry credentials not found, going on without: {error}"));
                Ok(None)
            }
            Err(error) => {
                let repository = reference.repository();
                Err(DriverError::new(format!("Failed to find docker auth for repo {repository:?}: {error}")))
            }
        }
    }

    fn report(&self, owner: &EventSubject, notice: Notice, image: &ImageReference) {
        let name = image.written();
        let (text, annotations) = match notice {
            Notice::Queued { place } => {
                let mut annotations = annotation(name);
                annotations.insert("place".to_owned(), place.to_string());
                (format!("Waiting to pull image: place {place} in the queue"), annotations)
            }
            Notice::Downloading => ("Downloading image".to_owned(), annotation(&image.to_string())),
            Notice::Progress(state) => (format!("Docker image pull progress: {state}"), annotation(name)),
        };
        self.events.emit(owner, text, annotations);
    }
}

/// Inspects and leases a local image.
async fn look(engine: &Engine, leases: &Leases, image: &ImageReference) -> Result<LocalImage, EngineError> {
    loop {
        let (found, config) = engine.measure_image(image.written()).await?;
        let id = found.id;
        // If it was being removed, it is looked up again.
        if let Some(lease) = leases.take(&id).await {
            return Ok(LocalImage { id, name: image.written().to_owned(), lease, downloaded: None, config });
        }
    }
}

fn inspect_failed(error: &EngineError) -> DriverError {
    // An image that somebody has just removed is pulled by the next attempt.
    DriverError::recoverable_if(error.is_transient() || error.is_not_found(), error.to_string())
}

fn annotation(image: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("image".to_owned(), image.to_owned())])
}

#[cfg(test)]
mod tests;
