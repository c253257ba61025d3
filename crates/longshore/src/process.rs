//! A process that a later one finds again, known by more than its number: that may belong to another one by then.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its number; 0 is no process.
    pub(crate) pid: u32,
    /// When it was started, in clock ticks since the machine was.
    started: u64,
}

impl Process {
    /// This one.
    pub(crate) fn own() -> Self {
        let pid = std::process::id();
        Self { pid, started: started(pid).unwrap_or_default() }
    }

    /// Whether it runs.
    pub(crate) fn runs(self) -> bool {
        self.pid != 0 && started(self.pid) == Some(self.started)
    }

    /// Sends it a signal, and no other process; whether it was there to get it.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(descriptor) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return false };
        // The descriptor holds on to a process: if that is the right one now, it is the right one later.
        self.runs() && pidfd_send_signal(descriptor, signal).is_ok()
    }
}

/// When a process was started; `None` where there is none, or only its exit code is left. See proc(5).
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may hold blanks and brackets.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_not_taken_for_another_one_with_its_number() {
        let own = Process::own();

        assert!(own.runs());
        let earlier = Process { started: own.started - 1, ..own };
        assert!(!earlier.runs() && !earlier.signal(Signal::KILL), "this process lives on");
        assert!(!Process::default().runs());
    }

    #[test]
    fn a_process_of_which_only_the_exit_code_is_left_has_ended() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process { pid: child.id(), started: started(child.id()).unwrap() };

        assert!(process.runs() && process.signal(Signal::KILL));
        while process.runs() {
            std::thread::yield_now();
        }

        assert!(!process.signal(Signal::KILL));
        child.wait().unwrap();
    }
}
