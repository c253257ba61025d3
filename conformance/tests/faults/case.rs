//! A case: one fault at one call of a life. The calls are those of the same life without a fault.

use std::fmt;

use conformance::fault_proxy::{Fault, Noted, Plan};

/// What an agent has a driver do, from the first call to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Life {
    /// A service: a command, statistics and a signal, then a stop.
    Service,
    /// A program that ends by itself, at once.
    Batch,
    /// An image that is pulled and, when nobody uses it any more, removed.
    Pull,
    /// A group's network, with a task in it.
    Network,
    /// A task that a second process of the driver takes over.
    Recovery,
    /// A task whose log is read through the engine.
    Logs,
}

impl Life {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Service, Self::Batch, Self::Pull, Self::Network, Self::Recovery, Self::Logs];

    /// The phases whose calls get faults. The others are those of another life.
    fn phases(self) -> &'static [&'static str] {
        match self {
            Self::Service => &["setup", "start", "run", "exec", "stats", "signal", "stop", "destroy"],
            Self::Batch => &["start", "run", "destroy"],
            Self::Pull => &["start", "destroy"],
            Self::Network => &["network", "start", "destroy", "end of network"],
            Self::Recovery => &["restart", "recover", "stop", "destroy"],
            Self::Logs => &["start", "run"],
        }
    }
}

/// A fault in a life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) life: Life,
    pub(crate) plan: Plan,
}

impl Case {
    /// All faults at the first two calls of each kind in each phase of a life.
    pub(crate) fn of(life: Life, journal: &[Noted]) -> Vec<Self> {
        let meant =
            |noted: &&Noted| noted.occurrence <= 2 && life.phases().contains(&noted.phase) && !is_by_time(noted);
        let mut cases: Vec<_> = journal.iter().filter(meant).flat_map(|noted| faults(life, noted)).collect();
        cases.sort();
        cases
    }

    /// Whether nobody waits for what an engine may take five minutes for.
    pub(crate) fn is_brief(&self) -> bool {
        let long =
            ["POST /containers/create", "POST /containers/ID/start", "POST /images/create", "DELETE /images/NAME"];
        !self.plan.fault.keeps_waiting() || !long.contains(&self.plan.call.as_str())
    }
}

/// What a driver asks now and then, in whichever phase that is.
fn is_by_time(noted: &Noted) -> bool {
    noted.call.as_str() == "GET /containers/json" && !["setup", "restart", "recover"].contains(&noted.phase)
}

fn faults(life: Life, noted: &Noted) -> impl Iterator<Item = Case> {
    let &Noted { phase, ref call, occurrence, answer, .. } = noted;
    let suits = move |fault: &Fault| answer.is_some_and(|answer| fault.suits(call, answer));
    Fault::ALL.into_iter().filter(suits).map(move |fault| {
        let plan = Plan { phase, call: call.clone(), occurrence, fault };
        Case { life, plan }
    })
}

impl fmt::Display for Life {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Service => "service",
            Self::Batch => "batch",
            Self::Pull => "pull",
            Self::Network => "network",
            Self::Recovery => "recovery",
            Self::Logs => "logs",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { life, plan: Plan { phase, call, occurrence, fault } } = self;
        write!(formatter, "{life}: {phase}: {call} #{occurrence}: {fault}")
    }
}
