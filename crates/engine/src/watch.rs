//! The watch of an engine's containers: one subscription to the engine's events, with any number of subscribers per container.
//!
//! ```text
//! away -> subscribed -> away -> ...
//! ```
//!
//! It never reports that a container has exited, only that it may have: the subscriber asks the engine. Whenever the
//! subscription restarts, every container may have exited meanwhile.
//!
//! A silent subscription may be dead without an end: dockerd is stopped, or something between it and this host has dropped the
//! connection. So the engine is also asked periodically what runs. A watched container that does not run may have exited, and a
//! subscription that has missed that is dropped.

mod look;
mod subscription;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::SystemTime,
};

use tokio::sync::Notify;

use super::{ContainerEvent, ContainerEventKind, Engine};
use background::Background;
use look::Seen;

/// The watch of one engine's containers.
pub struct ContainerWatch {
    engine: Engine,
    watched: Arc<Watched>,
    work: OnceLock<Background>,
}

/// The watched containers, by id.
#[derive(Default)]
struct Watched(Mutex<HashMap<String, Container>>);

#[derive(Default)]
struct Container {
    /// Every subscriber is notified: a second one takes nothing from the first.
    subscribers: Vec<Weak<Subscriber>>,
    /// What is known of it since the subscription began.
    seen: Seen,
}

#[derive(Default)]
struct Subscriber {
    woken: Notify,
    pending: Mutex<Pending>,
}

/// A subscription to what happens to one container. Dropping it unsubscribes.
pub struct WatchHandle {
    container: String,
    subscriber: Arc<Subscriber>,
    watched: Arc<Watched>,
}

/// Notifies the holder of a [`WatchHandle`] that its container may have exited, for example after a kill that the engine
/// answered: then the holder asks the engine, whether an event comes or not. Does nothing once the handle is dropped.
#[derive(Clone)]
pub struct Waker(Weak<Subscriber>);

/// Notifications that a subscriber has not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// It may have exited.
    pub may_have_ended: bool,
    /// When the OOM killer last killed one of its processes; then it may have exited as well.
    pub out_of_memory: Option<SystemTime>,
    /// It was disconnected from a network.
    pub disconnected: bool,
}

impl ContainerWatch {
    /// Subscribes to the engine's events when the first container is watched, and again whenever the subscription ends.
    pub fn new(engine: Engine) -> Self {
        Self { engine, watched: Arc::default(), work: OnceLock::new() }
    }

    /// Subscribes to a container, by full id. Earlier events are not reported.
    pub fn watch(&self, container: &str) -> WatchHandle {
        let subscriber = Arc::<Subscriber>::default();
        self.watched.lock().entry(container.to_owned()).or_default().subscribers.push(Arc::downgrade(&subscriber));
        self.work.get_or_init(|| {
            let (engine, watched) = (self.engine.clone(), self.watched.clone());
            Background::persevere("the subscription to events", move || work(engine.clone(), watched.clone()))
        });
        WatchHandle { container: container.to_owned(), subscriber, watched: self.watched.clone() }
    }
}

async fn work(engine: Engine, watched: Arc<Watched>) {
    tokio::join!(subscription::persist(&engine, &watched), look::repeat(&engine, &watched));
}

impl WatchHandle {
    /// Waits for a notification. Those that arrive while nobody waits are returned by the next call.
    pub async fn notified(&self) -> Pending {
        self.subscriber.woken.notified().await;
        std::mem::take(&mut *lock(&self.subscriber.pending))
    }

    /// Notifies this subscriber of a possible exit.
    pub fn wake(&self) {
        self.subscriber.may_have_ended();
    }

    /// What notifies this subscriber from elsewhere.
    pub fn waker(&self) -> Waker {
        Waker(Arc::downgrade(&self.subscriber))
    }
}

impl Waker {
    /// Notifies the subscriber of a possible exit.
    pub fn wake(&self) {
        if let Some(subscriber) = self.0.upgrade() {
            subscriber.may_have_ended();
        }
    }
}

impl Subscriber {
    fn notify(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut lock(&self.pending));
        self.woken.notify_one();
    }

    fn may_have_ended(&self) {
        self.notify(|pending| pending.may_have_ended = true);
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        let mut watched = self.watched.lock();
        if let Some(container) = watched.get_mut(&self.container) {
            container.subscribers.retain(|subscriber| subscriber.as_ptr() != Arc::as_ptr(&self.subscriber));
            if container.subscribers.is_empty() {
                watched.remove(&self.container);
            }
        }
    }
}

impl Container {
    fn notify(&self, change: impl Fn(&mut Pending)) {
        for subscriber in self.subscribers.iter().filter_map(Weak::upgrade) {
            subscriber.notify(&change);
        }
    }

    fn may_have_ended(&self) {
        self.notify(|pending| pending.may_have_ended = true);
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Container>> {
        lock(&self.0)
    }

    /// Any container may have exited.
    fn wake_all(&self) {
        self.lock().values().for_each(Container::may_have_ended);
    }

    /// Begins a subscription: any container may have exited before it.
    fn begin(&self) {
        self.lock().values_mut().for_each(|container| container.seen = Seen::default());
        self.wake_all();
    }

    /// Notifies the subscribers of an event's container.
    fn happened(&self, event: &ContainerEvent) {
        let mut watched = self.lock();
        let Some(container) = watched.get_mut(&event.container) else { return };
        match event.kind {
            ContainerEventKind::Died | ContainerEventKind::Destroyed => {
                container.seen = Seen::Ended;
                container.may_have_ended();
            }
            ContainerEventKind::OutOfMemory => container.notify(|pending| {
                pending.may_have_ended = true;
                pending.out_of_memory = Some(event.at);
            }),
            ContainerEventKind::Disconnected => container.notify(|pending| pending.disconnected = true),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
