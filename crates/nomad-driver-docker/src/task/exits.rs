//! The one subscription to the engine's events that all tasks share.
//!
//! ```text
//! away -> subscribed -> away -> ...
//! ```
//!
//! It never says that a container has ended, only that it may have: the task's watcher asks the engine. Whenever the
//! subscription starts anew, every container may have ended meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::{
    background::Background,
    engine::{ContainerEventKind, Engine, EngineError},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Hears of containers' ends.
pub struct Exits {
    engine: Engine,
    watched: Arc<Watched>,
    subscription: OnceLock<Background>,
}

type Watched = Mutex<HashMap<String, Weak<Signal>>>;

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
        lock(&self.watched).insert(container.to_owned(), Arc::downgrade(&signal));
        let subscribe = || Background::spawn(subscribe(self.engine.clone(), self.watched.clone()));
        self.subscription.get_or_init(subscribe);
        ExitSignal { container: container.to_owned(), signal, watched: self.watched.clone() }
    }
}

impl ExitSignal {
    /// Waits until there is something. What is told while nobody waits is kept.
    pub async fn heard(&self) -> Heard {
        self.signal.woken.notified().await;
        std::mem::take(&mut *lock(&self.signal.untold))
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
        if watched.get(&self.container).is_some_and(|kept| kept.as_ptr() == Arc::as_ptr(&self.signal)) {
            watched.remove(&self.container);
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
    let all: Vec<_> = lock(watched).values().filter_map(Weak::upgrade).collect();
    for signal in all {
        signal.tell(|heard| heard.maybe_ended = true);
    }
    let mut events = engine.container_events(since).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        let Some(signal) = lock(watched).get(&event.container).and_then(Weak::upgrade) else { continue };
        signal.tell(|heard| match event.kind {
            ContainerEventKind::Died | ContainerEventKind::Destroyed => heard.maybe_ended = true,
            ContainerEventKind::OutOfMemory => {
                heard.maybe_ended = true;
                heard.out_of_memory = Some(event.at);
            }
            ContainerEventKind::Disconnected => heard.disconnected = true,
        });
    }
    Ok(())
}
