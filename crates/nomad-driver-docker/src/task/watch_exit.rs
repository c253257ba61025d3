//! Finds out that a container has ended, and how. Only the engine's own word counts: a connection that breaks is no end.

mod steps;
#[cfg(test)]
mod tests;

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use steps::{Action, Input, Steps};
use tokio::time::Instant;

use super::{connections::Connections, exit::Exit};
use background::persevere;
use engine::{Engine, WatchHandle};

/// How long a container that lost a network has to end by itself.
const ENDING: Duration = Duration::from_secs(5);

/// How often the watching may panic before less is read.
const ATTEMPTS: u32 = 2;

/// Waits for a container's end; one that loses one of its `networks` is ended. `report` reports to the task's owner, `ending`
/// is whether this driver ends it.
///
/// A panic on the way is no end: a host would start the task again beside the one that runs. The watching starts again, and
/// where that does not help no more is read than that the container has ended, so that nobody waits for ever.
pub(super) async fn watch(
    engine: &Engine,
    container: &str,
    handle: &WatchHandle,
    networks: &Connections,
    ending: &AtomicBool,
    report: impl Fn(&str),
) -> Exit {
    let mut attempts = 0;
    let attempt = || {
        attempts += 1;
        let (attempt, report) = (attempts, &report);
        async move {
            if attempt > 1 {
                // What the last attempt was notified of is used up.
                handle.wake();
            }
            if attempt > ATTEMPTS
                && let Some(exit) = unread_exit(engine, container).await
            {
                return exit;
            }
            follow(engine, container, handle, networks, ending, report).await
        }
    };
    persevere("the watching of a task", attempt).await
}

/// That a container has ended, if it has, and its code; all else that the engine says is left unread.
async fn unread_exit(engine: &Engine, container: &str) -> Option<Exit> {
    match engine.inspect_container(container).await {
        Ok(inspected) => Exit::of(&inspected.state).map(|exit| exit.unread()),
        Err(error) => error.is_not_found().then(Exit::removed),
    }
}

async fn follow(
    engine: &Engine,
    container: &str,
    handle: &WatchHandle,
    networks: &Connections,
    ending: &AtomicBool,
    report: impl Fn(&str),
) -> Exit {
    let (mut steps, mut action) = Steps::new(&networks.names, networks.disconnected);
    let mut deadline = None;
    loop {
        let input = match action {
            Action::Wait(patience) => {
                deadline = patience.map(|patience| Instant::now() + patience);
                notified(handle, deadline).await
            }
            Action::WaitOn => notified(handle, deadline).await,
            Action::Inspect => match engine.inspect_container(container).await {
                Ok(inspected) => {
                    let input = Exit::of(&inspected.state).map_or(Input::Runs(&inspected), Input::Ended);
                    action = steps.next(input, ending.load(Ordering::Relaxed), &report);
                    continue;
                }
                Err(error) if error.is_not_found() => Input::Removed,
                Err(error) => {
                    // The end of an outage notifies us as well; this is for an engine that fails this call alone.
                    tracing::debug!(container, %error, "failed to inspect the container");
                    Input::Unanswered
                }
            },
            Action::Stop => {
                let stopped = engine.stop_container(container, ENDING).await;
                if let Err(error) = &stopped {
                    tracing::warn!(container, %error, "failed to stop a container without its network; retrying");
                }
                Input::Stopped(stopped.is_ok())
            }
            Action::Finish(exit) => return exit,
        };
        action = steps.next(input, ending.load(Ordering::Relaxed), &report);
    }
}

/// What the container's watch reports, up to a deadline.
async fn notified(handle: &WatchHandle, deadline: Option<Instant>) -> Input<'static> {
    let notified = pin!(handle.notified());
    match deadline {
        None => Input::Notified(notified.await),
        Some(deadline) => tokio::time::timeout_at(deadline, notified).await.map_or(Input::TimeOver, Input::Notified),
    }
}
