//! How a container exited.

use std::time::{Duration, SystemTime};

use nomad_plugin::driver::{ExitResult, WaitResult};

use engine::{ContainerState, End};

/// How long after the OOM killer's last kill an exit is still attributed to it.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The exit code of a first process that SIGKILL ended.
const KILLED: i32 = 128 + 9;

/// The message by which hosts recognize an OOM kill.
const OUT_OF_MEMORY: &str = "OOM Killed";

/// How a container exited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// In the protocol's form.
    pub result: WaitResult,
    /// When.
    pub at: SystemTime,
}

impl Exit {
    /// The exit of a container in a state; `None` while it is running, and if the engine does not say.
    pub(super) fn of(state: &ContainerState) -> Option<Self> {
        let end = match state {
            ContainerState::Unknown | ContainerState::Running { .. } | ContainerState::Restarting => return None,
            // Nobody starts it any more.
            ContainerState::Created => End::default(),
            ContainerState::Exited(end) | ContainerState::Dead(end) => *end,
        };
        Some(Self { result: result(end), at: end.at.unwrap_or_else(SystemTime::now) })
    }

    /// The exit of a container that no longer exists.
    pub(super) fn removed() -> Self {
        let error = "the container was removed by someone else while the task ran".to_owned();
        let result = ExitResult { exit_code: KILLED, signal: 0, oom_killed: false };
        Self { result: WaitResult { result, error }, at: SystemTime::now() }
    }

    /// An exit of which only the code could be read.
    pub(super) fn unread(&self) -> Self {
        let error = "the driver failed while it read how the task ended".to_owned();
        let result = ExitResult { exit_code: self.result.result.exit_code, ..ExitResult::default() };
        Self { result: WaitResult { result, error }, at: SystemTime::now() }
    }

    /// Whether the engine's OOM flag refers to an earlier kill, of a child: the engine never clears it.
    pub(super) fn is_long_after(&self, last_kill: Option<SystemTime>) -> bool {
        self.result.result.oom_killed && last_kill.is_some_and(|kill| kill + AFTERMATH < self.at)
    }

    /// Whether its first process was killed, and the engine does not attribute that to the OOM killer.
    pub(super) fn is_kill(&self) -> bool {
        !self.result.result.oom_killed && self.result.result.exit_code == KILLED
    }

    /// Corrects the exit's reason: `lost` is why the driver stopped the container, `last_kill` the time of the OOM killer's
    /// last kill.
    pub(super) fn judged(mut self, lost: Option<String>, last_kill: Option<SystemTime>) -> Self {
        if let Some(error) = lost {
            self.result.error = error;
        } else if self.is_long_after(last_kill) {
            self.result.result.oom_killed = false;
            self.result.error = non_zero(self.result.result.exit_code);
        } else if self.is_kill() && last_kill.is_some_and(|kill| kill + AFTERMATH > self.at) {
            // The engine sets the flag with its event, which came late.
            self.result.result.oom_killed = true;
            OUT_OF_MEMORY.clone_into(&mut self.result.error);
        }
        self
    }
}

fn result(end: End) -> WaitResult {
    // The engine's flag also remains from an earlier kill of a child; only SIGKILL ends the first process with this code.
    let oom_killed = end.out_of_memory && end.code == KILLED;
    let error = if oom_killed {
        OUT_OF_MEMORY.to_owned()
    } else if end.code != 0 {
        non_zero(end.code)
    } else {
        String::new()
    };
    WaitResult { result: ExitResult { exit_code: end.code, signal: 0, oom_killed }, error }
}

fn non_zero(exit_code: i32) -> String {
    format!("Docker container exited with non-zero exit code: {exit_code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_millis(1_767_323_045_500);

    fn ended(code: i32, out_of_memory: bool) -> ContainerState {
        ContainerState::Exited(End { code, at: Some(SystemTime::UNIX_EPOCH + AT), out_of_memory })
    }

    #[test]
    fn an_end_has_its_code_its_words_and_its_time() {
        let clean = Exit::of(&ended(0, false)).unwrap();
        assert_eq!(clean.result, WaitResult::default());
        assert_eq!(clean.at.duration_since(SystemTime::UNIX_EPOCH).unwrap(), AT);

        let failed = Exit::of(&ended(3, false)).unwrap().result;
        assert_eq!((failed.result.exit_code, failed.result.oom_killed), (3, false));
        assert_eq!(failed.error, "Docker container exited with non-zero exit code: 3");
    }

    #[test]
    fn only_a_kill_of_the_first_process_counts_as_out_of_memory() {
        let killed = Exit::of(&ended(137, true)).unwrap().result;
        assert!(killed.result.oom_killed);
        assert_eq!(killed.error, "OOM Killed");

        let a_child = Exit::of(&ended(0, true)).unwrap().result;
        assert_eq!(a_child, WaitResult::default());
    }

    #[test]
    fn what_runs_has_not_ended() {
        for state in [ContainerState::Running { pid: Some(7) }, ContainerState::Restarting, ContainerState::Unknown] {
            assert_eq!(Exit::of(&state), None, "{state:?}");
        }
    }

    #[test]
    fn an_end_is_judged_by_the_kernels_last_kill_and_by_what_the_driver_did() {
        let judged = |code, out_of_memory, lost: Option<&str>, kill_before: Option<u64>| {
            let exit = Exit::of(&ended(code, out_of_memory)).unwrap();
            let last_kill = kill_before.map(|seconds| exit.at - Duration::from_secs(seconds));
            let result = exit.judged(lost.map(str::to_owned), last_kill).result;
            (result.result.oom_killed, result.error)
        };
        let by_kernel = || (true, OUT_OF_MEMORY.to_owned());

        assert_eq!(judged(137, true, None, None), by_kernel());
        assert_eq!(judged(137, true, None, Some(1)), by_kernel());
        assert_eq!(judged(137, false, None, Some(1)), by_kernel(), "the flag came late");
        assert_eq!(judged(137, true, None, Some(60)), (false, non_zero(137)), "a child's kill");
        assert_eq!(judged(137, false, None, None), (false, non_zero(137)));
        assert_eq!(judged(137, false, Some("lost"), Some(1)), (false, "lost".to_owned()));
    }
}
