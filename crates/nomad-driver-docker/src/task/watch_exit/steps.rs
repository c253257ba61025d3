//! The state machine of a container's exit watching, without side effects.
//!
//! ```text
//! watching -> asking -> watching | disconnected | unanswered | ended -> finished
//! ```

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use super::{super::connections::missing, Exit};
use engine::{Inspected, Pending};

/// The pause before another inspect if the engine does not answer for a container.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a container may be without one of its networks, for example while its address is changed by hand.
pub(super) const RECONNECTION: Duration = Duration::from_secs(5);
/// How long the engine's report of an OOM kill may lag behind that of the exit.
pub(super) const LATE: Duration = Duration::from_secs(3);

/// The phase of the watching.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// It is running, connected or not.
    Watching { disconnected: bool },
    /// The engine did not answer for it.
    Unanswered { disconnected: bool },
    /// The engine is being asked; `is_due` means that it was disconnected for too long.
    Asking { disconnected: bool, is_due: bool },
    /// It is being stopped, because it has lost a network.
    Stopping,
    /// It exited, and the engine may still report an OOM kill.
    Ended(Exit),
}

/// An input of the state machine.
#[derive(Debug)]
pub(super) enum Input<'a> {
    /// Something happened to the container.
    Notified(Pending),
    /// The wait ended without a notification.
    TimeOver,
    /// The engine reports it as running.
    Runs(&'a Inspected),
    /// The engine reports its exit.
    Ended(Exit),
    /// The engine reports that it does not exist.
    Removed,
    /// The engine does not answer.
    Unanswered,
    /// A stop was attempted; whether it succeeded.
    Stopped(bool),
}

/// An action of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Wait for a notification, at most this long; `None` is forever.
    Wait(Option<Duration>),
    /// Continue the last wait.
    WaitOn,
    /// Inspect the container.
    Inspect,
    /// Stop the container.
    Stop,
    /// Report the exit.
    Finish(Exit),
}

/// The watching of one container.
#[derive(Clone, Debug)]
pub(super) struct Steps<'a> {
    phase: Phase,
    /// The networks that it had at its start.
    networks: &'a BTreeSet<String>,
    /// When the OOM killer last killed one of its processes.
    last_kill: Option<SystemTime>,
    /// Why the driver stops it.
    lost: Option<String>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(networks: &'a BTreeSet<String>, disconnected: bool) -> (Self, Action) {
        let phase = Phase::Watching { disconnected };
        let first = Action::Wait(phase.patience());
        (Self { phase, networks, last_kill: None, lost: None }, first)
    }

    /// The next action. `is_ours` is whether this driver is ending the container; `report` receives what the task's owner
    /// should know.
    pub(super) fn next(&mut self, input: Input<'_>, is_ours: bool, report: impl Fn(&str)) -> Action {
        if let Input::Notified(Pending { out_of_memory: Some(at), .. }) = &input {
            report("The kernel killed a process of the task: out of memory");
            self.last_kill = Some(*at);
        }
        let (phase, action) = match (self.phase.clone(), input) {
            (Phase::Ended(exit), Input::TimeOver) => return self.finish(exit),
            (Phase::Ended(exit), _) if self.may_report_more(&exit, is_ours) => (Phase::Ended(exit), Action::WaitOn),
            (Phase::Ended(exit), _) => return self.finish(exit),
            (phase, Input::Notified(Pending { may_have_ended, disconnected, .. })) => {
                let disconnected = disconnected || phase.is_disconnected();
                if may_have_ended {
                    (Phase::Asking { disconnected, is_due: false }, Action::Inspect)
                } else {
                    phase.disconnected(disconnected).waiting()
                }
            }
            (phase, Input::TimeOver) => {
                let is_due = matches!(phase, Phase::Watching { disconnected: true });
                (Phase::Asking { disconnected: phase.is_disconnected(), is_due }, Action::Inspect)
            }
            (Phase::Asking { disconnected: true, is_due: true }, Input::Runs(running)) => {
                self.without_network(running, report)
            }
            (phase, Input::Runs(_)) => Phase::Watching { disconnected: phase.is_disconnected() }.waiting(),
            (_, Input::Ended(exit)) if self.may_report_more(&exit, is_ours) => {
                (Phase::Ended(exit), Action::Wait(Some(LATE)))
            }
            (_, Input::Ended(exit)) => return self.finish(exit),
            (_, Input::Removed) => return Action::Finish(Exit::removed()),
            (phase, Input::Unanswered) => Phase::Unanswered { disconnected: phase.is_disconnected() }.waiting(),
            (_, Input::Stopped(worked)) => Phase::Watching { disconnected: !worked }.waiting(),
        };
        self.phase = phase;
        action
    }

    /// Stops a container that has lost a network for good: it would run without serving its purpose.
    fn without_network(&mut self, running: &Inspected, report: impl Fn(&str)) -> (Phase, Action) {
        let container = running.id.as_str();
        let Some(network) = missing(self.networks, running) else {
            self.lost = None;
            tracing::info!(container, "the container is connected to its networks again");
            return Phase::Watching { disconnected: false }.waiting();
        };
        if self.lost.is_none() {
            report(&format!("The task is stopped: its container was disconnected from the network {network:?}"));
        }
        self.lost = Some(format!("the container was disconnected from the network {network:?} while the task ran"));
        (Phase::Stopping, Action::Stop)
    }

    /// Whether the engine may still report an OOM kill: that of a child after an earlier one, or the one that ended the
    /// container.
    fn may_report_more(&self, exit: &Exit, is_ours: bool) -> bool {
        let is_nobodys = exit.is_kill() && self.last_kill.is_none() && !is_ours;
        exit.is_long_after(self.last_kill) || is_nobodys
    }

    fn finish(&mut self, exit: Exit) -> Action {
        Action::Finish(exit.judged(self.lost.take(), self.last_kill))
    }
}

impl Phase {
    fn is_disconnected(&self) -> bool {
        match self {
            Self::Watching { disconnected } | Self::Unanswered { disconnected } | Self::Asking { disconnected, .. } => {
                *disconnected
            }
            Self::Stopping | Self::Ended(_) => false,
        }
    }

    fn disconnected(self, disconnected: bool) -> Self {
        match self {
            Self::Unanswered { .. } => Self::Unanswered { disconnected },
            _ => Self::Watching { disconnected },
        }
    }

    fn patience(&self) -> Option<Duration> {
        match self {
            Self::Unanswered { .. } => Some(ASK_AGAIN),
            Self::Watching { disconnected: true } => Some(RECONNECTION),
            _ => None,
        }
    }

    fn waiting(self) -> (Self, Action) {
        let wait = Action::Wait(self.patience());
        (self, wait)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use engine::{Addresses, ContainerState, End};

    const MAY_HAVE_ENDED: Pending = Pending { may_have_ended: true, out_of_memory: None, disconnected: false };
    const DISCONNECTED: Pending = Pending { may_have_ended: false, out_of_memory: None, disconnected: true };

    fn exit(code: i32) -> Exit {
        let end = End { code, at: Some(SystemTime::UNIX_EPOCH), out_of_memory: false };
        Exit::of(&ContainerState::Exited(end)).unwrap()
    }

    fn in_networks(names: &[&str]) -> Inspected {
        let networks = names.iter().map(|name| ((*name).to_owned(), Addresses::default())).collect();
        Inspected { networks, ..Inspected::default() }
    }

    /// Feeds the inputs, and returns the actions and the emitted reports.
    fn steps(networks: &[&str], disconnected: bool, inputs: Vec<Input<'_>>) -> (Vec<Action>, Vec<String>) {
        let networks = networks.iter().map(|name| (*name).to_owned()).collect();
        let emitted = RefCell::new(Vec::new());
        let (mut steps, first) = Steps::new(&networks, disconnected);
        let next =
            inputs.into_iter().map(|input| steps.next(input, false, |text| emitted.borrow_mut().push(text.to_owned())));
        let actions = std::iter::once(first).chain(next).collect();
        (actions, emitted.into_inner())
    }

    fn actions(inputs: Vec<Input<'_>>) -> Vec<Action> {
        steps(&[], false, inputs).0
    }

    #[test]
    fn an_end_is_the_engines_own_word_and_nothing_else() {
        let running = Inspected::default();
        let never = Action::Wait(None);

        let runs = actions(vec![Input::Notified(MAY_HAVE_ENDED), Input::Runs(&running)]);
        let ended = actions(vec![Input::Notified(MAY_HAVE_ENDED), Input::Ended(exit(3))]);
        let removed = actions(vec![Input::Notified(MAY_HAVE_ENDED), Input::Removed]);

        assert_eq!(runs, [never.clone(), Action::Inspect, never.clone()]);
        assert_eq!(ended, [never.clone(), Action::Inspect, Action::Finish(exit(3))]);
        assert!(matches!(&removed[2], Action::Finish(exit) if exit.result.error.contains("removed by someone else")));
    }

    #[test]
    fn an_engine_that_does_not_answer_is_asked_again_each_second_and_at_once_when_it_is_back() {
        let (wait, never) = (Action::Wait(Some(ASK_AGAIN)), Action::Wait(None));
        let running = Inspected::default();

        let asked = actions(vec![
            Input::Notified(MAY_HAVE_ENDED),
            Input::Unanswered,
            Input::TimeOver,
            Input::Unanswered,
            Input::Notified(MAY_HAVE_ENDED),
            Input::Runs(&running),
        ]);

        let inspect = Action::Inspect;
        assert_eq!(asked, [never.clone(), inspect.clone(), wait.clone(), inspect.clone(), wait, inspect, never]);
    }

    #[test]
    fn a_container_without_its_network_is_stopped_when_its_time_is_over() {
        let (with, without) = (in_networks(&["back", "front"]), in_networks(&["front"]));
        let all = |last: Vec<Input<'_>>, running: &Inspected| {
            let mut inputs = vec![Input::Notified(DISCONNECTED), Input::TimeOver, Input::Runs(running)];
            inputs.extend(last);
            steps(&["back", "front"], false, inputs)
        };
        let wait = Action::Wait(Some(RECONNECTION));
        let begun = [Action::Wait(None), wait.clone(), Action::Inspect];

        let (again, reported) = all(vec![], &with);
        assert_eq!((again, reported), (begun.iter().cloned().chain([Action::Wait(None)]).collect(), vec![]));

        let (stopped, reported) =
            all(vec![Input::Stopped(true), Input::Notified(MAY_HAVE_ENDED), Input::Ended(exit(0))], &without);
        let stop = begun.iter().cloned().chain([Action::Stop, Action::Wait(None), Action::Inspect]);
        assert_eq!(stopped[..6], stop.collect::<Vec<_>>());
        let Action::Finish(exit) = &stopped[6] else { panic!("{stopped:?}") };
        assert_eq!(exit.result.error, "the container was disconnected from the network \"back\" while the task ran");
        assert_eq!(reported, ["The task is stopped: its container was disconnected from the network \"back\""]);

        let (tried, _) = all(vec![Input::Stopped(false), Input::TimeOver, Input::Runs(&without)], &without);
        assert_eq!(tried[4..], [wait, Action::Inspect, Action::Stop], "tries again");
    }

    #[test]
    fn a_container_that_was_disconnected_before_it_was_watched_has_its_time_too() {
        let without = in_networks(&["front"]);

        let (actions, reported) = steps(&["back"], true, vec![Input::TimeOver, Input::Runs(&without)]);

        assert_eq!(actions, [Action::Wait(Some(RECONNECTION)), Action::Inspect, Action::Stop]);
        assert_eq!(reported.len(), 1);
    }

    #[test]
    fn a_kill_that_nobody_did_waits_for_the_kernels_report_and_no_longer_than_its_time() {
        let kill = Pending { out_of_memory: Some(SystemTime::UNIX_EPOCH), may_have_ended: true, ..DISCONNECTED };
        let ended = || vec![Input::Notified(MAY_HAVE_ENDED), Input::Ended(exit(137))];

        let late = actions(ended().into_iter().chain([Input::TimeOver]).collect());
        let (killed, reported) = steps(&[], false, ended().into_iter().chain([Input::Notified(kill)]).collect());
        let other = actions(ended().into_iter().chain([Input::Notified(MAY_HAVE_ENDED)]).collect());

        assert_eq!(late[2..], [Action::Wait(Some(LATE)), Action::Finish(exit(137))]);
        assert!(matches!(&killed[3], Action::Finish(exit) if exit.result.result.oom_killed));
        assert_eq!(reported, ["The kernel killed a process of the task: out of memory"]);
        assert_eq!(other[3], Action::WaitOn);
    }

    #[test]
    fn a_kill_of_the_drivers_own_waits_for_nothing() {
        let networks = BTreeSet::new();
        let (mut steps, _) = Steps::new(&networks, false);

        steps.next(Input::Notified(MAY_HAVE_ENDED), true, |_| ());

        assert_eq!(steps.next(Input::Ended(exit(137)), true, |_| ()), Action::Finish(exit(137)));
    }
}
