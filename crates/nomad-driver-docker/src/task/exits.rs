//! The one subscription to the engine's events that all tasks share.
//!
//! ```text
//! away -> subscribed -> away -> ...
//! ```
//!
//! It never says that a container has ended, only that it may have: the task's watcher asks the engine. Whenever the
//! subscription starts anew, every container may have ended meanwhile.
//!
//! A subscription that says nothing may be one on which nothing can come any more: what lies between this host and the
//! engine's may have forgotten it. So a remote engine is also asked now and then what runs, and a subscription that has
//! not told of an end is given up.

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

use crate::{
    background::Background,
    engine::{ContainerEvent, ContainerEventKind, Engine, EngineError, EngineEvent},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a remote engine is asked what runs.
const LOOK: Duration = Duration::from_secs(30);

/// Hears of containers' ends.
pub struct Exits {
    engine: Engine,
    watched: Arc<Watched>,
    subscription: OnceLock<Background>,
}

/// By container. Each watcher of one is woken: a second one takes nothing from the first.
type Watched = Mutex<HashMap<String, Vec<Weak<Signal>>>>;

#[derive(Default)]
struct Signal {
    woken: Notify,
    /// What no watcher has heard of.
    untold: Mutex<Heard>,
}

/// What is heard of one container.
pub struct ExitSignal {
    container: String,
    signal: Arc<Signal>,
    watched: Arc<Watched>,
}

/// What a watcher is woken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// It may have ended.
    pub maybe_ended: bool,
    /// When the kernel last killed a process of it for its memory; then it may have ended as well.
    pub out_of_memory: Option<SystemTime>,
    /// It was disconnected from a network.
    pub disconnected: bool,
}

impl Exits {
    /// Subscribes with the first container that is watched, and goes on subscribing.
    pub fn new(engine: Engine) -> Self {
        Self { engine, watched: Arc::default(), subscription: OnceLock::new() }
    }

    /// Listens for a container, by full id. What happens before this call is not heard.
    pub fn watch(&self, container: &str) -> ExitSignal {
        let signal = Arc::<Signal>::default();
        lock(&self.watched).entry(container.to_owned()).or_default().push(Arc::downgrade(&signal));
        self.subscription.get_or_init(|| {
            let (engine, watched) = (self.engine.clone(), self.watched.clone());
            Background::persevere("the subscription to events", move || subscribe(engine.clone(), watched.clone()))
        });
        ExitSignal { container: container.to_owned(), signal, watched: self.watched.clone() }
    }
}

impl ExitSignal {
    /// Waits until there is something. What is told while nobody waits is kept.
    pub async fn heard(&self) -> Heard {
        self.signal.woken.notified().await;
        std::mem::take(&mut *lock(&self.signal.untold))
    }

    /// Wakes the watcher of its own accord.
    pub(super) fn wake(&self) {
        self.signal.tell(|heard| heard.maybe_ended = true);
    }
}

impl Signal {
    fn tell(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut lock(&self.untold));
        self.woken.notify_one();
    }
}

impl Drop for ExitSignal {
    fn drop(&mut self) {
        let mut watched = lock(&self.watched);
        if let Some(watchers) = watched.get_mut(&self.container) {
            watchers.retain(|watcher| watcher.as_ptr() != Arc::as_ptr(&self.signal));
            if watchers.is_empty() {
                watched.remove(&self.container);
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn subscribe(engine: Engine, watched: Arc<Watched>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listen(&engine, &watched, &mut pause).await {
            Ok(()) => tracing::debug!("the subscription to the engine's events ended"),
            Err(error) => tracing::debug!(%error, "no subscription to the engine's events"),
        }
        engine.was_away();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn listen(engine: &Engine, watched: &Watched, pause: &mut Duration) -> Result<(), EngineError> {
    engine.answers().await?;
    // The engine repeats its latest events from here on, so none falls between this moment and the subscription.
    let since = SystemTime::now();
    *pause = FIRST_PAUSE;
    wake_all(watched);
    let mut events = engine.container_events(since);
    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = HashSet::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = looks.tick(), if !engine.is_local() => {
                let running = engine.running_containers().await.inspect_err(|_| engine.is_silent())?;
                let running: HashSet<String> = running.into_iter().filter_map(|container| container.id).collect();
                let watched: HashSet<String> = lock(watched).keys().cloned().collect();
                ended.retain(|container| watched.contains(container));
                if let Some(missed) = watched.iter().find(|id| !running.contains(*id) && !ended.contains(*id)) {
                    tracing::info!(container = missed, "the engine's events stay away; subscribing again");
                    engine.is_silent();
                    return Ok(());
                }
                continue;
            }
        };
        let event = match event.transpose()? {
            Some(EngineEvent::Container(event)) => event,
            // It may be the end of any.
            Some(EngineEvent::Unread) => {
                wake_all(watched);
                continue;
            }
            None => return Ok(()),
        };
        if matches!(event.kind, ContainerEventKind::Died | ContainerEventKind::Destroyed) {
            ended.insert(event.container.clone());
        }
        wake(watched, &event);
    }
}

/// Wakes all watchers.
fn wake_all(watched: &Watched) {
    for watcher in lock(watched).values().flatten().filter_map(Weak::upgrade) {
        watcher.tell(|heard| heard.maybe_ended = true);
    }
}

/// Wakes the watchers of an event's container.
fn wake(watched: &Watched, event: &ContainerEvent) {
    for watcher in lock(watched).get(&event.container).into_iter().flatten().filter_map(Weak::upgrade) {
        watcher.tell(|heard| match event.kind {
            ContainerEventKind::Died | ContainerEventKind::Destroyed => heard.maybe_ended = true,
            ContainerEventKind::OutOfMemory => {
                heard.maybe_ended = true;
                heard.out_of_memory = Some(event.at);
            }
            ContainerEventKind::Disconnected => heard.disconnected = true,
        });
    }
}

#[cfg(test)]
mod tests;
