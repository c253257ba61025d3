//! Tracks the users of each image, and removes images that this driver pulled.
//!
//! ```text
//! pulled -> leased -> idle -> (image_delay) -> removed
//!              ^________|
//! ```
//!
//! An image that was in the engine before is never removed, nor is a pinned one. An image that the driver pulled is removed by
//! the names under which it was pulled, and without force: the engine keeps what another name or somebody else's container
//! needs.

mod removal;
mod unanswered;
mod unused;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use image_service::{Fate, Kept};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    inventory::Inventory,
    ledger::ImageLedger,
    replaced::{self, Replaced},
};
use crate::reference::{ImageReference, canonical};
use engine::Engine;
use unanswered::Attempts;

/// The minimum pause before the removal of an image is retried.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// The engine's images, as far as this driver uses them or pulled them.
#[derive(Clone, Default)]
pub(super) struct Leases(Arc<Shared>);

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    /// Something may now be due earlier.
    changed: Notify,
    /// An attempt to get an image has ended, and nobody knows how.
    unanswered: Notify,
}

#[derive(Default)]
struct Book {
    images: HashMap<String, Image>,
    /// How long an image is unused before it is removed; `None` is never.
    delay: Option<Duration>,
    /// The names of pinned images, in canonical form.
    pinned: BTreeSet<String>,
    ledger: Option<ImageLedger>,
    attempts: Attempts,
}

#[derive(Default)]
struct Image {
    leases: usize,
    /// The names under which the driver pulled it; none if it was there before.
    names: BTreeSet<String>,
    /// The names that belonged to another image before, with that image's id.
    replaced: BTreeMap<String, String>,
    /// When it became unused.
    idle: Option<Instant>,
    /// Open while it is being removed.
    removal: Option<watch::Receiver<()>>,
}

/// An image that this driver uses or pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: String,
    /// The names under which it was pulled; none if it was there before.
    pub(super) names: BTreeSet<String>,
    pub(super) used: bool,
    pub(super) fate: Fate,
}

/// A lease of an image: it is not removed while a clone of this lives.
#[derive(Clone)]
pub struct ImageLease(Arc<Lease>);

impl std::fmt::Debug for ImageLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ImageLease").field(&self.0.id).finish()
    }
}

struct Lease {
    id: String,
    leases: Leases,
}

impl ImageLease {
    /// The image's id.
    pub fn id(&self) -> &str {
        &self.0.id
    }
}

impl Leases {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how long an image is unused before it is removed; `None` is never.
    pub(super) fn set_delay(&self, delay: Option<Duration>) {
        self.book().delay = delay;
        self.0.changed.notify_one();
    }

    /// Pins the images of these names, so that they are not removed. The list replaces that of the last call. A removal that is
    /// in progress has ended when this returns.
    pub(super) async fn pin(&self, names: &[String]) {
        let removals: Vec<_> = {
            let mut book = self.book();
            book.pinned = names.iter().map(|name| canonical(name)).collect();
            let removal = |image: &Image| image.removal.clone().filter(|_| book.is_pinned(image));
            book.images.values().filter_map(removal).collect()
        };
        self.0.changed.notify_one();
        for mut removal in removals {
            let _ended = removal.changed().await;
        }
    }

    /// The names of pinned images.
    pub(super) fn pinned(&self) -> BTreeSet<String> {
        self.book().pinned.clone()
    }

    /// Whether this driver pulled an image under that name.
    pub(super) fn has_pulled(&self, id: &str, name: &ImageReference) -> bool {
        let name = name.canonical();
        self.book().images.get(id).is_some_and(|image| image.names.iter().any(|own| canonical(own) == name))
    }

    /// Whether this process removes images.
    pub(super) fn collects_garbage(&self) -> bool {
        self.book().ledger.is_some()
    }

    /// The images that are in use or were pulled.
    pub(super) fn known(&self) -> Vec<Known> {
        let (book, now) = (self.book(), Instant::now());
        let known = |(id, image): (&String, &Image)| Known {
            id: id.clone(),
            names: image.names.clone(),
            used: image.leases > 0,
            fate: book.fate(image, now),
        };
        book.images.iter().map(known).collect()
    }

    /// Leases an image, by id. If it is being removed, waits for that and returns `None`: it may no longer exist.
    pub(super) async fn take(&self, id: &str) -> Option<ImageLease> {
        let mut removal = {
            let mut book = self.book();
            let image = book.images.entry(id.to_owned()).or_default();
            match &image.removal {
                None => {
                    image.leases += 1;
                    image.idle = None;
                    let lease = Lease { id: id.to_owned(), leases: self.clone() };
                    return Some(ImageLease(Arc::new(lease)));
                }
                Some(removal) => removal.clone(),
            }
        };
        let _ended = removal.changed().await;
        None
    }

    /// Leases the image of a container that was started earlier. Engines may know it by a different id than at the pull; then
    /// its name identifies it.
    pub(super) async fn take_of_container(&self, id: &str, name: &str) -> Option<ImageLease> {
        let pulled = {
            let book = self.book();
            let named = |image: &Image| image.names.contains(name);
            let known = book.images.get(id).is_some_and(|image| !image.names.is_empty());
            let other = || book.images.iter().find(|(_, image)| named(image)).map(|(id, _)| id.clone());
            if known { None } else { other() }
        };
        self.take(pulled.as_deref().unwrap_or(id)).await
    }

    /// Records that this driver pulled an image under a name. `before` is what the engine had at the start.
    pub(super) fn pulled_by_us(&self, id: &str, name: &ImageReference, before: &Inventory) {
        let mut book = self.book();
        let noted = book.images.get(id).map(|image| &image.names).filter(|names| !names.is_empty());
        let of_somebody_else = match noted {
            // This includes an image that a parallel pull of this driver added just before the engine was asked.
            Some(names) => !names.contains(name.written()) && before.had(id, name),
            None => before.removal_would_take(id, name),
        };
        // A pinned image counts as pulled by a person.
        if book.delay.is_none() || of_somebody_else || book.pinned.contains(&name.canonical()) {
            return;
        }
        let image = book.images.entry(id.to_owned()).or_default();
        image.names.insert(name.written().to_owned());
        if image.leases == 0 {
            image.idle = Some(Instant::now());
        }
        book.persist();
        drop(book);
        self.0.changed.notify_one();
    }

    /// Records that an archive's image took a name from another image, which gets it back when this one is removed.
    pub(super) fn replaced(&self, id: &str, name: &str, former: Option<&str>) {
        let mut book = self.book();
        let Some(former) = former.filter(|former| *former != id) else { return };
        let former = match book.images.get(former) {
            // It took the name itself, or is the driver's own.
            Some(image) if image.names.contains(name) => image.replaced.get(name).cloned(),
            _ => Some(former.to_owned()),
        };
        let image = book.images.get_mut(id).filter(|image| image.names.contains(name));
        if let (Some(image), Some(former)) = (image, former) {
            image.replaced.insert(name.to_owned(), former);
            book.persist();
        }
    }

    /// Removes images as they become due, forever. Images that an earlier process pulled are in the ledger in `state_dir`.
    pub(super) async fn collect_garbage(self, engine: Engine, state_dir: PathBuf) {
        self.adopt(ledger(&engine, &state_dir).await);
        let removing = async {
            loop {
                let removal = self.due().await;
                let _logged = self.carry_out(&engine, removal).await;
            }
        };
        tokio::join!(removing, self.find_unanswered(&engine));
    }

    /// Removes an image that is marked as being removed; the error is the reason if it is kept for now.
    async fn carry_out(&self, engine: &Engine, (id, names, ended): Removal) -> Result<(), String> {
        let outcome = removal::remove(engine, &id, &names).await;
        let former = self.book().images.get(&id).map(|image| image.replaced.clone()).unwrap_or_default();
        for (name, former) in former.iter().filter(|_| outcome.is_ok()) {
            replaced::give_back(engine, name, former).await;
        }
        self.book().end_removal(&id, &outcome);
        drop(ended);
        match &outcome {
            Ok(()) => tracing::info!(image = id, ?names, "removed an unused image"),
            Err(error) => tracing::debug!(image = id, ?names, %error, "an image is not removed yet"),
        }
        outcome
    }

    /// Waits until an image is due, and marks it as being removed.
    async fn due(&self) -> Removal {
        loop {
            let next = {
                let mut book = self.book();
                if let Some(removal) = book.begin_removal(Instant::now()) {
                    return removal;
                }
                book.next_due()
            };
            let changed = self.0.changed.notified();
            match next {
                Some(next) => drop(tokio::time::timeout_at(next, changed).await),
                None => changed.await,
            }
        }
    }
}

/// An image to remove: its id, the names under which it was pulled, and a sender whose drop signals the end of the removal.
type Removal = (String, BTreeSet<String>, watch::Sender<()>);

impl Drop for Lease {
    fn drop(&mut self) {
        let mut book = self.leases.book();
        if let Some(image) = book.images.get_mut(&self.id) {
            image.leases -= 1;
            if image.leases == 0 {
                image.idle = Some(Instant::now());
                if image.names.is_empty() {
                    book.images.remove(&self.id);
                }
            }
        }
        drop(book);
        self.leases.0.changed.notify_one();
    }
}

impl Book {
    fn due(&self, image: &Image) -> Option<Instant> {
        let idle = image.idle.filter(|_| image.leases == 0 && image.removal.is_none() && !image.names.is_empty())?;
        Some(idle + self.delay.filter(|_| !self.is_pinned(image))?)
    }

    fn is_pinned(&self, image: &Image) -> bool {
        image.names.iter().any(|name| self.pinned.contains(&canonical(name)))
    }

    fn fate(&self, image: &Image, now: Instant) -> Fate {
        match self.delay {
            _ if self.is_pinned(image) => Fate::Kept(Kept::Prefetched),
            None => Fate::Kept(Kept::CleanupOff),
            Some(_) if image.names.is_empty() => Fate::Kept(Kept::Found),
            Some(_) if self.ledger.is_none() => Fate::Kept(Kept::Unattended),
            Some(delay) => match image.idle {
                Some(idle) if image.leases == 0 => Fate::RemovedIn((idle + delay).saturating_duration_since(now)),
                _ => Fate::RemovedAfter(delay),
            },
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.images.values().filter_map(|image| self.due(image)).min()
    }

    fn begin_removal(&mut self, now: Instant) -> Option<Removal> {
        let due = |image: &Image| self.due(image).is_some_and(|due| due <= now);
        let id = self.images.iter().find(|(_, image)| due(image)).map(|(id, _)| id.clone())?;
        let image = self.images.get_mut(&id)?;
        let (ended, removal) = watch::channel(());
        image.removal = Some(removal);
        Some((id, image.names.clone(), ended))
    }

    fn end_removal(&mut self, id: &str, outcome: &Result<(), String>) {
        if outcome.is_ok() {
            self.images.remove(id);
        } else if let Some(image) = self.images.get_mut(id) {
            image.removal = None;
            // A zero delay must not become a busy loop.
            let wait = TRY_AGAIN.saturating_sub(self.delay.unwrap_or_default());
            image.idle = Some(Instant::now() + wait);
        }
        self.persist();
    }

    fn persist(&self) {
        if let Some(ledger) = &self.ledger {
            let pulled_by_us = self.images.iter().filter(|(_, image)| !image.names.is_empty());
            ledger.write(pulled_by_us.map(|(id, image)| (id.as_str(), &image.names)));
            let took = self.images.iter().filter(|(_, image)| !image.replaced.is_empty());
            let took: Replaced = took.map(|(id, image)| (id.clone(), image.replaced.clone())).collect();
            replaced::write(&replaced::beside(ledger.path()), &took);
        }
    }
}

/// The ledger of an engine, once the engine has identified itself.
async fn ledger(engine: &Engine, state_dir: &Path) -> ImageLedger {
    loop {
        match engine.facts().await {
            Ok(facts) => return ImageLedger::new(state_dir, &facts.name),
            Err(_) => tokio::time::sleep(TRY_AGAIN / 3).await,
        }
    }
}
