//! Stops a task: gracefully first, and by force after a timeout. Also signals it.
//!
//! ```text
//! signal sent -> exited
//!             -> grace is over -> SIGKILL sent -> exited
//!                                             -> still running: an error, and the host asks again
//! ```
//!
//! The engine's own call for this is not used: it is one call that takes as long as the grace, and if its answer does not come,
//! nobody sends SIGKILL.

use std::{sync::atomic::Ordering, time::Duration};

use nomad_plugin::driver::{DriverError, Signal, UnknownSignal};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{ANSWER, Status, Task};
use crate::checkpoint::reached;
use background::Backoff;
use engine::{EngineError, persist, within};

/// How much longer than its grace a stop may take.
const MARGIN: Duration = Duration::from_secs(10);
/// How much longer it may take if nothing answers at the engine's address, as during its restart.
const AWAY: Duration = Duration::from_secs(60);
/// How much of that is left to the kill if the signal was late.
const FOR_THE_KILL: Duration = Duration::from_secs(5);
/// How long one attempt to signal may take, and one to kill.
const SIGNAL_ATTEMPT: Duration = Duration::from_secs(10);
const KILL_ATTEMPT: Duration = Duration::from_secs(5);
/// The pauses between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// The pauses between two looks at a container that is to exit.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// What the engine sends if a container has no stop signal, or one that it does not know.
const DEFAULT_SIGNAL: &str = "SIGTERM";

/// When a stop is over.
struct End {
    at: Instant,
    /// The latest that it may become while the engine is away.
    latest: Instant,
}

impl End {
    /// Nothing answers at the engine's address: it has its margin when it is back.
    fn wait_for_engine(&mut self) {
        self.at = self.at.max((Instant::now() + MARGIN).min(self.latest));
    }
}

impl Task {
    /// Sends `signal` (empty: the image's stop signal) and, `timeout` later, SIGKILL. 0 kills at once. It is over 10 s after the
    /// timeout, whatever the engine does. If nothing answers at its address, that time does not count, up to a minute.
    pub async fn stop(&self, timeout: Duration, signal: &str) -> Result<(), DriverError> {
        let signal = if signal.is_empty() { None } else { Some(parse(signal)?.to_string()) };
        self.ending.store(true, Ordering::Relaxed);
        let latest = Instant::now() + timeout.saturating_add(AWAY);
        let mut end = End { at: Instant::now() + timeout.saturating_add(MARGIN), latest };
        if !timeout.is_zero() && self.exits_at_a_signal(signal.as_deref(), timeout, &mut end).await? {
            return Ok(());
        }
        let killed = repeat(&mut end, KILL_ATTEMPT, || self.signal_container("SIGKILL")).await;
        killed.map_err(|error| DriverError::new(format!("Failed to stop container {}: {error}", self.container)))?;
        reached("stop: killed");
        let killed = Instant::now();
        if self.has_ended_by(end.at).await {
            return Ok(());
        }
        let (container, seconds) = (&self.container, killed.elapsed().as_secs());
        Err(DriverError::new(format!("container {container} still runs {seconds} s after it was killed")))
    }

    /// Sends a signal and waits for the exit. If the signal is late, so is the end of the grace, within limits.
    async fn exits_at_a_signal(
        &self,
        signal: Option<&str>,
        grace: Duration,
        end: &mut End,
    ) -> Result<bool, DriverError> {
        let mut sending = End { at: Instant::now() + grace, latest: end.latest };
        let sent = repeat(&mut sending, SIGNAL_ATTEMPT, || async {
            match signal {
                Some(signal) => self.signal_container(signal).await,
                None => self.send_stop_signal().await,
            }
        });
        let planned = Instant::now() + grace;
        let sent = sent.await;
        if sending.at > planned {
            end.at = end.at.max((Instant::now() + grace).min(end.latest) + MARGIN);
        }
        reached("stop: signal sent");
        match sent {
            Ok(()) => Ok(self.has_ended_by((Instant::now() + grace).min(end.at - FOR_THE_KILL)).await),
            Err(error) if is_worth_repeating(&error) => {
                tracing::warn!(container = self.container, %error, "failed to signal the container in its time; killing it");
                Ok(*self.status.borrow() != Status::Running)
            }
            Err(error) => {
                let container = &self.container;
                Err(DriverError::new(format!("Failed to signal container {container:?} while killing: {error}")))
            }
        }
    }

    async fn send_stop_signal(&self) -> Result<(), EngineError> {
        let known = match self.details.get() {
            Some(details) => details.stop_signal.clone(),
            None => self.engine.inspect_container(&self.container).await?.stop_signal,
        };
        let signal = if known.is_empty() { DEFAULT_SIGNAL } else { &known };
        match self.signal_container(signal).await {
            Err(error) if !is_worth_repeating(&error) && signal != DEFAULT_SIGNAL => {
                self.signal_container(DEFAULT_SIGNAL).await
            }
            other => other,
        }
    }

    /// Sends a signal. It is sent once: an attempt that may have had its effect is not repeated.
    pub async fn signal(&self, signal: &str) -> Result<(), DriverError> {
        let signal = parse(signal)?.to_string();
        let attempt = || async {
            match self.engine.kill_container(&self.container, &signal).await {
                Err(error) if error.may_have_happened() => Ok(Err(error)),
                other => other.map(Ok),
            }
        };
        let sent = persist(&self.container, ANSWER, attempt).await.and_then(|answer| answer);
        sent.map_err(|error| DriverError::new(error.to_string()))
    }

    /// Waits for the exit until a time; returns whether it came. The engine is asked again and again, for its events may fail to
    /// come.
    async fn has_ended_by(&self, time: Instant) -> bool {
        let looks = async {
            let mut backoff = Backoff::new(LOOKS.0, LOOKS.1);
            loop {
                backoff.wait().await;
                self.waker.wake();
            }
        };
        tokio::select! {
            () = self.ended() => true,
            () = sleep_until(time) => {
                self.waker.wake();
                false
            }
            () = looks => false,
        }
    }

    /// Waits until the watcher has seen the exit, but not for the logs.
    async fn ended(&self) {
        let mut status = self.status.clone();
        let _destroyed_is_the_end_too = status.wait_for(|status| *status != Status::Running).await;
    }

    /// Signalling a container that has already exited is no error; then the watcher has missed that.
    async fn signal_container(&self, signal: &str) -> Result<(), EngineError> {
        match self.engine.kill_container(&self.container, signal).await {
            Err(error) if error.is_not_found() || error.is_conflict() => {
                self.waker.wake();
                Ok(())
            }
            other => other,
        }
    }
}

fn parse(signal: &str) -> Result<Signal, DriverError> {
    signal.parse().map_err(|error: UnknownSignal| DriverError::new(error.to_string()))
}

/// Whether another attempt may help. A container that is to exit may get its signal twice.
fn is_worth_repeating(error: &EngineError) -> bool {
    error.is_transient() || error.may_have_happened()
}

/// Makes a call until it is answered or rejected, or the time is over.
async fn repeat<F: Future<Output = Result<(), EngineError>>>(
    end: &mut End,
    attempt: Duration,
    call: impl Fn() -> F,
) -> Result<(), EngineError> {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        let left = end.at.saturating_duration_since(Instant::now()).min(attempt);
        match within(left, call()).await {
            Err(error) if is_worth_repeating(&error) => {
                if matches!(error, EngineError::Unreachable { .. }) {
                    end.wait_for_engine();
                }
                if timeout_at(end.at, backoff.wait()).await.is_err() {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}
