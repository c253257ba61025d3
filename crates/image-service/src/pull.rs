//! A pull that is under way, layer by layer, and what comes of it.

use std::time::Duration;

use crate::proto as wire;

/// A pull that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pull {
    /// The image's name, as it was asked for.
    pub image: String,
    /// Its place in the queue, the next one's being 1; `None` once the engine pulls.
    pub place: Option<u32>,
    /// What is known of its layers.
    pub layers: Vec<Layer>,
}

/// A layer of an image that is being pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The engine's short id of it.
    pub id: String,
    /// What happens to it.
    pub state: LayerState,
    /// Bytes that were downloaded so far.
    pub bytes: u64,
    /// How many there are to download; 0 while that is not known, and of a layer that need not be downloaded.
    pub total: u64,
}

/// What happens to a layer, in this order unless a download has to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It waits for its turn.
    Waiting,
    /// It is on its way.
    Downloading,
    /// The connection broke; the engine is about to try again.
    Retrying,
    /// It is here, and looked at.
    Verifying,
    /// It is here.
    Downloaded,
    /// It is being unpacked.
    Extracting,
    /// It is part of the image.
    Done,
    /// The engine had it before.
    Present,
}

/// Something that happened to an image that is fetched before a task needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefetched {
    /// The image's name, as the task has it.
    pub image: String,
    /// What happened.
    pub step: Step,
}

/// A step of an image that is fetched before a task needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is pulled.
    Pulling(Pull),
    /// That was its last step.
    Ended(Outcome),
}

/// What came of fetching an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was here.
    Present {
        /// Whether the registry was asked for a newer one.
        asked: bool,
    },
    /// It was pulled.
    Pulled {
        /// How much was downloaded, as far as the engine reported it.
        bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// It comes from an archive, which is there only when the task starts.
    Archived,
    /// Why it is not here, in the words of a task that does not start.
    Failed(String),
}

impl From<Pull> for wire::Pull {
    fn from(Pull { image, place, layers }: Pull) -> Self {
        let layer = |Layer { id, state, bytes, total }| wire::Layer {
            id,
            state: wire::LayerState::from(state).into(),
            bytes,
            total,
        };
        Self { image, place, layers: layers.into_iter().map(layer).collect() }
    }
}

impl From<wire::Pull> for Pull {
    fn from(wire::Pull { image, place, layers }: wire::Pull) -> Self {
        let layer = |wire::Layer { id, state, bytes, total }| Layer {
            id,
            state: wire::LayerState::try_from(state).unwrap_or_default().into(),
            bytes,
            total,
        };
        Self { image, place, layers: layers.into_iter().map(layer).collect() }
    }
}

/// The states, once for both ways.
macro_rules! states {
    ($($state:ident),*) => {
        impl From<LayerState> for wire::LayerState {
            fn from(state: LayerState) -> Self {
                match state { $(LayerState::$state => Self::$state),* }
            }
        }

        impl From<wire::LayerState> for LayerState {
            fn from(state: wire::LayerState) -> Self {
                match state { $(wire::LayerState::$state => Self::$state),* }
            }
        }
    };
}

states!(Waiting, Downloading, Retrying, Verifying, Downloaded, Extracting, Done, Present);

impl From<Prefetched> for wire::PrefetchResponse {
    fn from(Prefetched { image, step }: Prefetched) -> Self {
        use wire::{outcome::Outcome as Came, prefetch_response::Event};
        let event = match step {
            Step::Pulling(pull) => Event::Pull(pull.into()),
            Step::Ended(outcome) => {
                let outcome = match outcome {
                    Outcome::Present { asked } => Came::Present(wire::Present { asked }),
                    Outcome::Pulled { bytes, took } => {
                        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                        Came::Pulled(wire::Pulled { bytes, took_ms })
                    }
                    Outcome::Archived => Came::Archived(wire::Archived {}),
                    Outcome::Failed(error) => Came::Failed(error),
                };
                Event::Outcome(wire::Outcome { outcome: Some(outcome) })
            }
        };
        Self { image, event: Some(event) }
    }
}

impl From<wire::PrefetchResponse> for Prefetched {
    fn from(wire::PrefetchResponse { image, event }: wire::PrefetchResponse) -> Self {
        use wire::{outcome::Outcome as Came, prefetch_response::Event};
        let step = match event {
            Some(Event::Pull(pull)) => Step::Pulling(pull.into()),
            Some(Event::Outcome(wire::Outcome { outcome: Some(outcome) })) => Step::Ended(match outcome {
                Came::Present(wire::Present { asked }) => Outcome::Present { asked },
                Came::Pulled(wire::Pulled { bytes, took_ms }) => {
                    Outcome::Pulled { bytes, took: Duration::from_millis(took_ms) }
                }
                Came::Archived(wire::Archived {}) => Outcome::Archived,
                Came::Failed(error) => Outcome::Failed(error),
            }),
            Some(Event::Outcome(wire::Outcome { outcome: None })) | None => {
                Step::Ended(Outcome::Failed("the driver reported an unknown outcome".to_owned()))
            }
        };
        Self { image, step }
    }
}
