//! In which order the tasks of an instance end.
//!
//! ```text
//! the leader -> main tasks, and those that run once beside them -> sidecars -> poststop tasks run
//! ```

use nomad_jobspec::job::{Hook, Lifecycle, Task};
use serde::{Deserialize, Serialize};

use crate::stop::Stop;

/// When it is a task's turn to end. Each waits for those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Turn {
    /// First and alone.
    Leader,
    /// A main task, or one that runs once before or beside it.
    #[default]
    Main,
    /// Of use until the others have ended.
    Sidecar,
    /// Begins when all others have ended.
    Poststop,
}

impl Turn {
    /// A task's turn.
    pub(crate) fn of(task: &Task) -> Self {
        match task.lifecycle {
            Some(Lifecycle { hook: Hook::Poststop, .. }) => Self::Poststop,
            _ if task.leader => Self::Leader,
            Some(Lifecycle { sidecar: true, .. }) => Self::Sidecar,
            _ => Self::Main,
        }
    }

    /// How urgently tasks of this turn are to end, where the instance is to end `ending`, and `running` still run.
    pub(crate) fn asked(self, ending: Stop, running: impl IntoIterator<Item = Self>) -> Stop {
        match ending {
            Stop::Gently if running.into_iter().any(|other| other < self) => Stop::No,
            ending => ending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_waits_for_those_before_it_unless_there_is_haste() {
        let all = [Turn::Sidecar, Turn::Main, Turn::Leader];
        let asked = |ending, running: &[Turn]| all.map(|turn| turn.asked(ending, running.iter().copied()));

        assert_eq!(asked(Stop::No, &all), [Stop::No; 3]);
        assert_eq!(asked(Stop::Gently, &all), [Stop::No, Stop::No, Stop::Gently]);
        assert_eq!(asked(Stop::Gently, &all[..2]), [Stop::No, Stop::Gently, Stop::Gently]);
        assert_eq!(asked(Stop::Gently, &all[..1]), [Stop::Gently; 3]);
        assert_eq!(asked(Stop::Now, &all), [Stop::Now; 3]);
    }
}
