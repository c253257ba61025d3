//! Finds out that a container has ended, and how. Only the engine's own word counts: a connection that breaks is no end.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use nomad_plugin::driver::{ExitResult, WaitResult};

use super::{
    connections::{Connections, missing},
    exits::{ExitSignal, Heard},
};
use crate::{
    background::persevere,
    engine::{
        Engine,
        model::{ContainerInspectResponse, ContainerState},
    },
};

/// How long to wait before asking again where the engine does not answer for a container.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long after the kernel's last kill an end is still its work.
const AFTERMATH: Duration = Duration::from_secs(5);
/// How long a container may be without one of its networks, as while its address is changed by hand.
const RECONNECTION: Duration = Duration::from_secs(5);
/// How long one that stays without has to end by itself.
const ENDING: Duration = Duration::from_secs(5);
/// How often the watching may panic before less is read.
const ATTEMPTS: u32 = 2;
/// How long the engine's word of a kill may come after that of the end.
const LATE: Duration = Duration::from_secs(3);

/// The code of a first process that SIGKILL ended.
const KILLED: i32 = 128 + 9;
/// What hosts know the kernel's kill by.
const OUT_OF_MEMORY: &str = "OOM Killed";

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// In the words of the protocol.
    pub result: WaitResult,
    /// When.
    pub at: SystemTime,
}

/// What is known of a container besides that it runs.
struct Known<'a, T> {
    /// Tells the task's owner.
    tell: T,
    /// The networks that it had from its start on.
    networks: &'a BTreeSet<String>,
    /// When the kernel last killed a process of it.
    last_kill: Option<SystemTime>,
    /// It was disconnected from a network, and may be connected again.
    disconnected: bool,
    /// Why it is being ended.
    lost: Option<String>,
    /// Whether this driver ends it.
    ending: &'a AtomicBool,
}

impl<T: Fn(&str)> Known<'_, T> {
    fn hear(&mut self, heard: Heard) {
        if let Some(at) = heard.out_of_memory {
            (self.tell)("The kernel killed a process of the task: out of memory");
            self.last_kill = Some(at);
        }
        self.disconnected |= heard.disconnected;
    }

    /// Ends a container that has lost a network for good: it would be there without doing what it is for.
    async fn end_without_network(&mut self, engine: &Engine, container: &str, running: &ContainerInspectResponse) {
        let Some(network) = missing(self.networks, running) else {
            self.lost = None;
            return tracing::info!(container, "the container was disconnected from a network and is connected again");
        };
        if self.lost.is_none() {
            (self.tell)(&format!("The task is ended: its container was disconnected from the network {network:?}"));
        }
        self.lost = Some(format!("the container was disconnected from the network {network:?} while the task ran"));
        if let Err(error) = engine.stop_container(container, ENDING).await {
            tracing::warn!(container, %error, "a container without its network is not ended yet");
            self.disconnected = true;
        }
    }

    /// Whether the engine may yet say what the kernel did: a kill of a child after an earlier one, or the one that ended
    /// the container.
    fn may_be_told_more(&self, exit: &Exit) -> bool {
        let nobodys = exit.is_kill() && self.last_kill.is_none() && !self.ending.load(Ordering::Relaxed);
        exit.is_long_after(self.last_kill) || nobodys
    }

    /// The end, for its true reason.
    fn judge(self, exit: Exit) -> Exit {
        match self.lost {
            Some(error) => Exit { result: WaitResult { error, ..exit.result }, ..exit },
            None if exit.is_long_after(self.last_kill) => exit.of_another_cause(),
            // The engine's flag comes with its event, which came late.
            None if exit.is_kill() && self.last_kill.is_some_and(|kill| kill + AFTERMATH > exit.at) => {
                exit.by_the_kernel()
            }
            None => exit,
        }
    }
}

impl Exit {
    /// Whether the engine tells of the kernel's kill but means an earlier one, of a child: its flag stays.
    fn is_long_after(&self, last_kill: Option<SystemTime>) -> bool {
        self.result.result.oom_killed && last_kill.is_some_and(|kill| kill + AFTERMATH < self.at)
    }

    /// Whether its first process was killed, and the engine does not say that the kernel did it.
    fn is_kill(&self) -> bool {
        !self.result.result.oom_killed && self.result.result.exit_code == KILLED
    }

    /// The same end, by the kernel's doing.
    fn by_the_kernel(self) -> Self {
        let result = ExitResult { oom_killed: true, ..self.result.result };
        Self { result: WaitResult { result, error: OUT_OF_MEMORY.to_owned() }, ..self }
    }

    /// The same end, not by the kernel's doing.
    fn of_another_cause(mut self) -> Self {
        self.result.result.oom_killed = false;
        self.result.error = non_zero(self.result.result.exit_code);
        self
    }
}

/// Waits for a container's end; one that loses one of its `networks` is ended. `tell` tells the task's owner, `ending` is
/// whether this driver ends it.
///
/// A panic on the way is no end: a host would start the task again beside the one that runs. The watching is begun again,
/// and where that does not help no more is read than that the container has ended, so that nobody waits for ever.
pub(super) async fn watch(
    engine: &Engine,
    container: &str,
    signal: &ExitSignal,
    networks: &Connections,
    ending: &AtomicBool,
    tell: impl Fn(&str),
) -> Exit {
    let mut attempts = 0;
    let attempt = || {
        attempts += 1;
        let (attempt, tell) = (attempts, &tell);
        async move {
            if attempt > 1 {
                // What the last attempt was woken for is used up.
                signal.wake();
            }
            if attempt > ATTEMPTS
                && let Some(exit) = unread_exit(engine, container).await
            {
                return exit;
            }
            follow(engine, container, signal, networks, ending, tell).await
        }
    };
    persevere("the watching of a task", attempt).await
}

/// That a container has ended, if it has, and its code; all else that the engine says is left unread.
async fn unread_exit(engine: &Engine, container: &str) -> Option<Exit> {
    let state = match engine.inspect_container(container).await {
        Ok(inspected) => inspected.state?,
        Err(error) => return error.is_not_found().then(removed),
    };
    if state.running == Some(true) || state.restarting == Some(true) {
        return None;
    }
    let exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    let error = "the driver failed while it read how the task ended".to_owned();
    let result = ExitResult { exit_code, ..ExitResult::default() };
    Some(Exit { result: WaitResult { result, error }, at: SystemTime::now() })
}

async fn follow(
    engine: &Engine,
    container: &str,
    signal: &ExitSignal,
    networks: &Connections,
    ending: &AtomicBool,
    tell: impl Fn(&str),
) -> Exit {
    let Connections { names, lacking } = networks;
    let mut known = Known { tell, networks: names, last_kill: None, disconnected: *lacking, lost: None, ending };
    let mut failing = false;
    loop {
        let patience = if failing { Some(ASK_AGAIN) } else { known.disconnected.then_some(RECONNECTION) };
        let heard = match patience {
            None => Some(signal.heard().await),
            Some(patience) => tokio::time::timeout(patience, signal.heard()).await.ok(),
        };
        known.hear(heard.unwrap_or_default());
        if heard.is_some_and(|heard| !heard.maybe_ended) {
            continue;
        }
        let was_failing = std::mem::take(&mut failing);
        let time_is_over = heard.is_none() && !was_failing;
        match engine.inspect_container(container).await {
            Ok(inspected) => match exit(&inspected) {
                Some(exit) => {
                    let late = tokio::time::sleep(LATE);
                    tokio::pin!(late);
                    while known.may_be_told_more(&exit) {
                        tokio::select! {
                            heard = signal.heard() => known.hear(heard),
                            () = &mut late => break,
                        }
                    }
                    return known.judge(exit);
                }
                None if time_is_over && std::mem::take(&mut known.disconnected) => {
                    known.end_without_network(engine, container, &inspected).await;
                }
                None => {}
            },
            Err(error) if error.is_not_found() => return removed(),
            Err(error) => {
                tracing::debug!(container, %error, "the engine does not say how the container is");
                // The end of an outage wakes us as well; this is for an engine that fails this call alone.
                failing = true;
            }
        }
    }
}

/// How a container ended, if it has.
pub(super) fn exit(inspected: &ContainerInspectResponse) -> Option<Exit> {
    let state = inspected.state.as_ref()?;
    if state.running == Some(true) || state.restarting == Some(true) {
        return None;
    }
    let at = state.finished_at.as_deref().and_then(time).unwrap_or_else(SystemTime::now);
    Some(Exit { result: result(state), at })
}

fn result(state: &ContainerState) -> WaitResult {
    let exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    // The engine's flag also stands for a child that was killed earlier; only a SIGKILL ends the first process so.
    let oom_killed = state.oom_killed == Some(true) && exit_code == KILLED;
    let error = if oom_killed {
        OUT_OF_MEMORY.to_owned()
    } else if exit_code != 0 {
        non_zero(exit_code)
    } else {
        String::new()
    };
    WaitResult { result: ExitResult { exit_code, signal: 0, oom_killed }, error }
}

fn non_zero(exit_code: i32) -> String {
    format!("Docker container exited with non-zero exit code: {exit_code}")
}

fn removed() -> Exit {
    let error = "the container was removed by someone else while the task ran".to_owned();
    let result = ExitResult { exit_code: KILLED, signal: 0, oom_killed: false };
    Exit { result: WaitResult { result, error }, at: SystemTime::now() }
}

/// A time as the engine writes it; its year 1 is no time.
pub(crate) fn time(text: &str) -> Option<SystemTime> {
    use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    (at.year() > 1).then(|| at.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: i64, oom_killed: bool) -> ContainerInspectResponse {
        let state = ContainerState {
            running: Some(false),
            exit_code: Some(exit_code),
            oom_killed: Some(oom_killed),
            finished_at: Some("2026-01-02T03:04:05.5Z".into()),
            ..ContainerState::default()
        };
        ContainerInspectResponse { state: Some(state), ..ContainerInspectResponse::default() }
    }

    #[test]
    fn an_end_has_its_code_its_words_and_its_time() {
        let clean = exit(&ended(0, false)).unwrap();
        assert_eq!(clean.result, WaitResult::default());
        assert_eq!(clean.at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis(), 1_767_323_045_500);

        let failed = exit(&ended(3, false)).unwrap().result;
        assert_eq!((failed.result.exit_code, failed.result.oom_killed), (3, false));
        assert_eq!(failed.error, "Docker container exited with non-zero exit code: 3");
    }

    #[test]
    fn only_a_kill_of_the_first_process_counts_as_out_of_memory() {
        let killed = exit(&ended(137, true)).unwrap().result;
        assert!(killed.result.oom_killed);
        assert_eq!(killed.error, "OOM Killed");
        let a_child = exit(&ended(0, true)).unwrap().result;
        assert_eq!(a_child, WaitResult::default());
    }

    #[test]
    fn what_runs_has_not_ended() {
        let mut running = ended(0, false);
        running.state.as_mut().unwrap().running = Some(true);
        assert_eq!(exit(&running), None);
        assert_eq!(exit(&ContainerInspectResponse::default()), None);
    }

    #[test]
    fn the_year_one_is_no_time() {
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
    }
}
