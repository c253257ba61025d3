//! The watch of an engine's containers: one subscription to the engine's events, with any number of subscribers per container.
//!
//! ```text
//! away -> subscribed -> away -> ...
//! ```
//!
//! It never reports that a container has exited, only that it may have: the subscriber asks the engine. Whenever the
//! subscription restarts, every container may have exited meanwhile.
//!
//! A silent subscription may be dead: something between this host and the engine may have dropped it. So a remote engine is
//! also asked periodically for its running containers, and a subscription that has missed an exit is dropped.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use futures_util::StreamExt;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{ContainerEvent, ContainerEventKind, Engine, EngineError, EngineEvent};
use background::{Background, Backoff};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a remote engine is asked for its running containers.
const LOOK: Duration = Duration::from_secs(30);

/// The watch of one engine's containers.
pub struct ContainerWatch {
    engine: Engine,
    subscribers: Arc<Subscribers>,
    subscription: OnceLock<Background>,
}

/// By container. Every subscriber is notified: a second one takes nothing from the first.
type Subscribers = Mutex<HashMap<String, Vec<Weak<Subscriber>>>>;

#[derive(Default)]
struct Subscriber {
    woken: Notify,
    pending: Mutex<Pending>,
}

/// A subscription to what happens to one container. Dropping it unsubscribes.
pub struct WatchHandle {
    container: String,
    subscriber: Arc<Subscriber>,
    subscribers: Arc<Subscribers>,
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
        Self { engine, subscribers: Arc::default(), subscription: OnceLock::new() }
    }

    /// Subscribes to a container, by full id. Earlier events are not reported.
    pub fn watch(&self, container: &str) -> WatchHandle {
        let subscriber = Arc::<Subscriber>::default();
        lock(&self.subscribers).entry(container.to_owned()).or_default().push(Arc::downgrade(&subscriber));
        self.subscription.get_or_init(|| {
            let (engine, subscribers) = (self.engine.clone(), self.subscribers.clone());
            Background::persevere("the subscription to events", move || subscribe(engine.clone(), subscribers.clone()))
        });
        WatchHandle { container: container.to_owned(), subscriber, subscribers: self.subscribers.clone() }
    }
}

impl WatchHandle {
    /// Waits for a notification. Those that arrive while nobody waits are returned by the next call.
    pub async fn notified(&self) -> Pending {
        self.subscriber.woken.notified().await;
        std::mem::take(&mut *lock(&self.subscriber.pending))
    }

    /// Notifies this subscriber of a possible exit.
    pub fn wake(&self) {
        self.subscriber.notify(|pending| pending.may_have_ended = true);
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
            subscriber.notify(|pending| pending.may_have_ended = true);
        }
    }
}

impl Subscriber {
    fn notify(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut lock(&self.pending));
        self.woken.notify_one();
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        let mut subscribers = lock(&self.subscribers);
        if let Some(of_container) = subscribers.get_mut(&self.container) {
            of_container.retain(|subscriber| subscriber.as_ptr() != Arc::as_ptr(&self.subscriber));
            if of_container.is_empty() {
                subscribers.remove(&self.container);
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn subscribe(engine: Engine, subscribers: Arc<Subscribers>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match listen(&engine, &subscribers, &mut backoff).await {
            Ok(()) => tracing::debug!("the subscription to the engine's events ended"),
            Err(error) => tracing::debug!(%error, "failed to subscribe to Docker's events"),
        }
        engine.was_away();
        backoff.wait().await;
    }
}

async fn listen(engine: &Engine, subscribers: &Subscribers, backoff: &mut Backoff) -> Result<(), EngineError> {
    engine.answers().await?;
    // The engine replays its latest events from here on, so none is missed before the subscription.
    let since = SystemTime::now();
    backoff.reset();
    wake_all(subscribers);
    let mut events = engine.container_events(since);
    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = HashSet::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = looks.tick(), if !engine.is_local() => {
                let running = engine.running_containers().await.inspect_err(|_| engine.is_silent())?;
                let running: HashSet<String> = running.into_iter().map(|container| container.id).collect();
                let watched: HashSet<String> = lock(subscribers).keys().cloned().collect();
                ended.retain(|container| watched.contains(container));
                if let Some(missed) = watched.iter().find(|id| !running.contains(*id) && !ended.contains(*id)) {
                    tracing::info!(container = missed, "the subscription missed the container's end; subscribing again");
                    engine.is_silent();
                    return Ok(());
                }
                continue;
            }
        };
        let event = match event.transpose()? {
            Some(EngineEvent::Container(event)) => event,
            // It may be the exit of any container.
            Some(EngineEvent::Unread) => {
                wake_all(subscribers);
                continue;
            }
            None => return Ok(()),
        };
        if matches!(event.kind, ContainerEventKind::Died | ContainerEventKind::Destroyed) {
            ended.insert(event.container.clone());
        }
        wake(subscribers, &event);
    }
}

/// Wakes all subscribers.
fn wake_all(subscribers: &Subscribers) {
    for subscriber in lock(subscribers).values().flatten().filter_map(Weak::upgrade) {
        subscriber.notify(|pending| pending.may_have_ended = true);
    }
}

/// Notifies the subscribers of an event's container.
fn wake(subscribers: &Subscribers, event: &ContainerEvent) {
    for subscriber in lock(subscribers).get(&event.container).into_iter().flatten().filter_map(Weak::upgrade) {
        subscriber.notify(|pending| match event.kind {
            ContainerEventKind::Died | ContainerEventKind::Destroyed => pending.may_have_ended = true,
            ContainerEventKind::OutOfMemory => {
                pending.may_have_ended = true;
                pending.out_of_memory = Some(event.at);
            }
            ContainerEventKind::Disconnected => pending.disconnected = true,
        });
    }
}

#[cfg(test)]
mod tests;
