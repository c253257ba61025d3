//! The periodic question which containers run.

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, sleep};

use super::Watched;
use crate::{Engine, EngineError};

/// How often the engine is asked what runs: an exit that no event reports is known that soon.
pub(super) const LOOK: Duration = Duration::from_secs(8);
/// The longest pause between two questions.
const LONGEST: Duration = Duration::from_secs(60);
/// At most this part of the time is spent with questions.
const SHARE: u32 = 100;

/// What is known of a watched container since the subscription began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    #[default]
    Nothing,
    /// It ran at the last look.
    Running,
    /// It ran, and no longer did at the last look. Its event may still be on the way.
    Missing,
    /// Its end was reported.
    Ended,
}

impl Seen {
    /// What is known after a look, and whether the subscription has missed an end.
    fn after(self, is_running: bool) -> (Self, bool) {
        match (self, is_running) {
            (_, true) => (Self::Running, false),
            (Self::Running, false) => (Self::Missing, false),
            (Self::Missing, false) => (Self::Ended, true),
            (Self::Nothing | Self::Ended, false) => (self, false),
        }
    }
}

/// Asks for ever.
pub(super) async fn repeat(engine: &Engine, watched: &Watched) {
    let mut pause = LOOK;
    loop {
        sleep(pause).await;
        let begun = Instant::now();
        if !watched.lock().is_empty() {
            look(engine, watched).await;
        }
        pause = begun.elapsed().saturating_mul(SHARE).clamp(LOOK, LONGEST);
    }
}

/// Wakes the subscribers of containers that do not run. A subscription that is dead without an end is dropped.
async fn look(engine: &Engine, watched: &Watched) {
    match engine.running_containers().await {
        Ok(running) => {
            let running: HashSet<String> = running.into_iter().map(|container| container.id).collect();
            if let Some(missed) = watched.looked(&running) {
                tracing::warn!(container = missed, "the subscription missed the container's end; subscribing again");
                engine.is_silent();
            }
        }
        Err(error) => {
            tracing::debug!(%error, "failed to list the running containers");
            if matches!(error, EngineError::Deadline(_)) {
                engine.is_silent();
            }
        }
    }
}

impl Watched {
    /// Takes note of what runs. Returns a container whose end the subscription has missed.
    fn looked(&self, running: &HashSet<String>) -> Option<String> {
        let mut missed = None;
        for (id, container) in &mut *self.lock() {
            let is_running = running.contains(id);
            let (seen, is_missed) = container.seen.after(is_running);
            container.seen = seen;
            if !is_running {
                container.may_have_ended();
            }
            if is_missed {
                missed = Some(id.clone());
            }
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_missed_when_its_event_has_not_come_by_the_next_look() {
        let missed = |seen: Seen, looks: &[bool]| {
            let mut seen = seen;
            let look = |is_running: &bool| {
                let (after, missed) = seen.after(*is_running);
                seen = after;
                missed
            };
            looks.iter().map(look).collect::<Vec<_>>()
        };

        assert_eq!(missed(Seen::Nothing, &[true, true, false, false, false]), [false, false, false, true, false]);
        assert_eq!(missed(Seen::Nothing, &[true, false, true, false]), [false; 4], "it was started again");
        assert_eq!(missed(Seen::Nothing, &[false, false, false]), [false; 3], "it was not started yet");
        assert_eq!(missed(Seen::Ended, &[false, false, true, false, false]), [false, false, false, false, true]);
    }
}
