//! The pulls in progress: at most one at a time per image and credentials, a limited number in total, each for as long as
//! somebody waits for it.
//!
//! The platform is the engine's own: jobs cannot choose another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use nomad_plugin::driver::DriverError;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    LocalImage,
    before::Before,
    inspect_failed,
    lease::Leases,
    progress::Progress,
    pull::{PullError, PullState, follow},
    queue::{Queue, Ticket},
};
use crate::reference::ImageReference;
use background::Background;
use engine::{Credentials, Engine, EngineError};

/// The full image name, the credentials, and whether it is separate from the tasks' pulls.
type Key = (String, Option<Credentials>, bool);

/// Who an image is pulled for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Puller {
    /// A job, by its namespace and id.
    Job(String),
    /// Pause containers.
    PauseContainers,
}

impl Puller {
    pub(super) fn job(&self) -> &str {
        match self {
            Self::Job(job) => job,
            Self::PauseContainers => "",
        }
    }
}

/// The pulls of one engine.
pub(super) struct Pulls {
    engine: Engine,
    leases: Leases,
    queue: Queue,
    /// The queue of pause images, which do not wait for tasks' images.
    apart: Queue,
    under_way: Mutex<HashMap<Key, Weak<Pull>>>,
}

/// A pull. It ends when its last waiter is dropped.
pub(super) struct Pull {
    /// The name as the first waiter writes it.
    image: String,
    /// Its ticket's number.
    ticket: u64,
    status: watch::Receiver<PullStatus>,
    _work: Background,
}

enum PullStatus {
    /// It is not known yet whether it must wait.
    Entering,
    UnderWay(PullState),
    Ended(Result<LocalImage, PullFailed>),
}

#[derive(Clone)]
enum PullFailed {
    Look(EngineError),
    Pull(PullError),
}

/// What is pulled, as the first waiter writes it.
struct Wanted {
    image: ImageReference,
    credentials: Option<Credentials>,
    silence: Duration,
}

impl Pulls {
    /// Pulls into `engine`, at most `at_once` images at a time.
    pub(super) fn new(engine: Engine, leases: Leases, at_once: usize) -> Self {
        Self { engine, leases, queue: Queue::new(at_once), apart: Queue::new(1), under_way: Mutex::default() }
    }

    /// Changes how many images are pulled at a time.
    pub(super) fn set_at_once(&self, at_once: usize) {
        self.queue.set_open(at_once);
    }

    /// The pull of an image with these credentials: the one in progress, or a new one.
    pub(super) fn join_or_begin(
        &self,
        image: &ImageReference,
        credentials: Option<Credentials>,
        silence: Duration,
        puller: &Puller,
    ) -> Arc<Pull> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, pull| pull.upgrade().is_some_and(|pull| pull.is_under_way()));
        let is_apart = *puller == Puller::PauseContainers;
        let queue = if is_apart { &self.apart } else { &self.queue };
        let key = (image.canonical(), credentials.clone(), is_apart);
        if let Some(pull) = under_way.get(&key).and_then(Weak::upgrade) {
            queue.join(pull.ticket, puller.job());
            return pull;
        }
        let (writer, status) = watch::channel(PullStatus::Entering);
        let ticket = queue.enter(puller.job());
        let number = ticket.number();
        let wanted = Wanted { image: image.clone(), credentials, silence };
        let (engine, leases) = (self.engine.clone(), self.leases.clone());
        let work = async move {
            let result = wanted.pull(ticket, &engine, &leases, &writer).await;
            writer.send_replace(PullStatus::Ended(result));
        };
        let image = image.written().to_owned();
        let pull = Arc::new(Pull { image, ticket: number, status, _work: Background::spawn(work) });
        under_way.insert(key, Arc::downgrade(&pull));
        pull
    }

    /// The state of each pull, by image name.
    pub(super) fn states(&self) -> Vec<(String, PullState)> {
        let pulls: Vec<_> = {
            let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.values().filter_map(Weak::upgrade).collect()
        };
        let state = |pull: &Arc<Pull>| match &*pull.status.borrow() {
            PullStatus::UnderWay(state) => Some((pull.image.clone(), state.clone())),
            PullStatus::Entering | PullStatus::Ended(_) => None,
        };
        let mut states: Vec<_> = pulls.iter().filter_map(state).collect();
        states.sort_by(|(a, _), (b, _)| a.cmp(b));
        states
    }
}

impl Wanted {
    async fn pull(
        self,
        ticket: Ticket,
        engine: &Engine,
        leases: &Leases,
        status: &watch::Sender<PullStatus>,
    ) -> Result<LocalImage, PullFailed> {
        let Self { image, credentials, silence } = self;
        let set = |state| drop(status.send_replace(PullStatus::UnderWay(state)));
        ticket.turn(|place| set(PullState::Queued { place })).await;
        set(PullState::begun(Instant::now()));
        let mut before = Before::look(engine, leases, &image).await.map_err(PullFailed::Look)?;
        let report = |now: &Progress| {
            status.send_modify(|status| {
                if let PullStatus::UnderWay(PullState::Pulling { progress, .. }) = status {
                    progress.clone_from(now);
                }
            });
        };
        let pulling = async {
            let messages = engine.pull_image(&image.qualified(), image.tag(), credentials);
            follow(messages, silence, report).await
        };
        before.begin();
        if let Err(error) = pulling.await {
            if error.is_final() {
                before.end();
            }
            return Err(PullFailed::Pull(error));
        }
        let found = before.pulled_by_us(engine).await.map_err(PullFailed::Look)?;
        let downloaded = match &*status.borrow() {
            PullStatus::UnderWay(PullState::Pulling { progress, .. }) => progress.downloaded(),
            _ => 0,
        };
        let is_new = before.named.as_ref().is_none_or(|before| before.id != found.id);
        Ok(LocalImage { downloaded: is_new.then_some(downloaded), ..found })
    }
}

impl PullFailed {
    /// In the words that hosts know, with the image's name as the task spells it.
    fn reported(&self, image: &str) -> DriverError {
        match self {
            Self::Look(error) => inspect_failed(error),
            Self::Pull(error) => DriverError::recoverable(format!("Failed to pull `{image}`: {error}")),
        }
    }
}

impl Pull {
    fn is_under_way(&self) -> bool {
        !matches!(*self.status.borrow(), PullStatus::Ended(_))
    }

    /// Waits for the end, at most `whole` from when the engine starts to pull. `on_state` receives each state, and returns when
    /// it wants the next one even if it has not changed.
    pub(super) async fn wait(
        &self,
        image: &str,
        whole: Duration,
        mut on_state: impl FnMut(&PullState, Instant) -> Instant,
    ) -> Result<LocalImage, DriverError> {
        let mut status = self.status.clone();
        let mut begun = None;
        loop {
            let now = Instant::now();
            let next = match &*status.borrow_and_update() {
                PullStatus::Ended(result) => {
                    if begun.is_none() {
                        // It ended before this waiter saw it; its start is reported all the same.
                        on_state(&PullState::begun(now), now);
                    }
                    let found = result.clone().map_err(|failed| failed.reported(image))?;
                    return Ok(LocalImage { name: image.to_owned(), ..found });
                }
                PullStatus::UnderWay(state) => {
                    let next = on_state(state, now);
                    match state {
                        PullState::Queued { .. } => Some(next),
                        PullState::Pulling { since, progress } => {
                            let end = *begun.get_or_insert(now) + whole;
                            if now >= end {
                                let late = PullError::Late { whole, state: progress.describe(now - *since) };
                                return Err(PullFailed::Pull(late).reported(image));
                            }
                            Some(next.min(end))
                        }
                    }
                }
                PullStatus::Entering => None,
            };
            tokio::select! {
                changed = status.changed() => if changed.is_err() {
                    return Err(DriverError::recoverable(format!("Failed to pull `{image}`: the driver gave up")));
                },
                () = async { sleep_until(next.unwrap_or(now)).await }, if next.is_some() => {}
            }
        }
    }
}
