//! The subscription to the engine's events.

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use background::Backoff;
use futures_util::StreamExt;

use super::Watched;
use crate::{Engine, EngineError, EngineEvent};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Subscribes again whenever the subscription ends.
pub(super) async fn persist(engine: &Engine, watched: &Watched) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match listen(engine, watched, &mut backoff).await {
            Ok(()) => tracing::debug!("the subscription to the engine's events ended"),
            Err(error) => tracing::debug!(%error, "failed to subscribe to Docker's events"),
        }
        engine.was_away();
        backoff.wait().await;
    }
}

async fn listen(engine: &Engine, watched: &Watched, backoff: &mut Backoff) -> Result<(), EngineError> {
    let mut is_silent = pin!(engine.connection.given_up());
    // The engine replays its latest events from here on, so none is missed before the subscription.
    let mut events = engine.container_events(SystemTime::now()).await?;
    backoff.reset();
    watched.begin();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = &mut is_silent => return Ok(()),
        };
        match event.transpose()? {
            Some(EngineEvent::Container(event)) => watched.happened(&event),
            // It may be the exit of any container.
            Some(EngineEvent::Unread) => watched.wake_all(),
            None => return Ok(()),
        }
    }
}
