//! Detects that a container has exited, and how. Only the engine's own answer counts: a broken connection is no exit.

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

use super::{ANSWER, connections::Connections, exit::Exit};
use background::persevere;
use engine::{Engine, WatchHandle, within};

/// How long a container that lost a network may take to stop.
const ENDING: Duration = Duration::from_secs(5);

/// How often the watching may panic before it falls back to reading less.
const ATTEMPTS: u32 = 2;

/// Waits for a container's exit; a container that loses one of its `networks` is stopped. `report` reports to the task's owner;
/// `ending` is set when this driver ends the container.
///
/// A panic must not look like an exit: a host would start the task again beside the running one. So the watching is restarted.
/// If that does not help, only the exit itself and its code are read, so that nobody waits forever.
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
                // The last attempt has consumed its notifications.
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

/// The exit of a container, if it has exited, with only its code; everything else in the engine's answer is ignored.
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
                    // We are also notified at the end of an outage; this is for an engine that fails only this call.
                    tracing::debug!(container, %error, "failed to inspect the container");
                    Input::Unanswered
                }
            },
            Action::Stop => {
                // The answer may be lost, although the container has stopped.
                let stopped = within(ENDING + ANSWER, engine.stop_container(container, ENDING)).await;
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

/// A notification of the container's watch, up to a deadline.
async fn notified(handle: &WatchHandle, deadline: Option<Instant>) -> Input<'static> {
    let notified = pin!(handle.notified());
    match deadline {
        None => Input::Notified(notified.await),
        Some(deadline) => tokio::time::timeout_at(deadline, notified).await.map_or(Input::TimeOver, Input::Notified),
    }
}
