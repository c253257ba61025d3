//! What a job is now: what its agent recorded, held against what its driver answers.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use nomad_plugin::{client::DriverClient, driver::TaskState as Inspected};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::{
    data_dir::DataDir,
    state::{AllocState, JobState, Phase, TaskState},
};

/// How long a driver may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An agent records an end some time after it; it is given that time.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// How a task, an allocation or a job is: Nomad's words for allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Nothing runs yet, or it is started again later.
    Pending,
    /// It runs.
    Running,
    /// It has ended as it should.
    Complete,
    /// It has failed for good.
    Failed,
    /// It does not run, and nobody starts it; or no agent runs what runs of it.
    Lost,
    /// Nobody knows, for now.
    Unknown,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }

    /// What parts are together: what a person must know comes first.
    fn together(parts: impl Iterator<Item = Self>) -> Self {
        let parts: Vec<Self> = parts.collect();
        let order = [Self::Failed, Self::Unknown, Self::Lost, Self::Running, Self::Pending];
        order.into_iter().find(|status| parts.contains(status)).unwrap_or(Self::Complete)
    }
}

/// How a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) status: Status,
    /// Why it does not run, where there is more to say.
    pub(crate) why: Option<String>,
}

/// A job as it is now.
pub(crate) struct Observation {
    /// As its agent recorded it.
    pub(crate) job: JobState,
    /// Whether its agent runs.
    pub(crate) has_agent: bool,
    /// The tasks of each allocation.
    observed: BTreeMap<String, BTreeMap<String, Observed>>,
}

/// Looks at a job, or at those of its allocations that the state has.
pub(crate) async fn observe(job: JobState, data: &DataDir) -> Observation {
    let mut observation = look(job).await;
    for _ in 1..LOOKS {
        if !observation.is_behind() {
            break;
        }
        sleep(BETWEEN_LOOKS).await;
        let Ok(Some(mut fresh)) = data.load(&observation.job.id) else { break };
        fresh.allocs.retain(|alloc| observation.observed.contains_key(&alloc.id));
        observation = look(fresh).await;
    }
    observation
}

async fn look(job: JobState) -> Observation {
    let has_agent = job.agent.runs();
    let driver = match &job.driver {
        Some(reattach) if !job.phase().is_over() => DriverClient::reattach(reattach.clone()).await.ok(),
        _ => None,
    };
    let driver = driver.as_ref();
    let tasks = job.allocs.iter().flat_map(|alloc| alloc.tasks.iter().map(move |(name, task)| (alloc, name, task)));
    let asked = tasks.map(|(alloc, name, task)| async move {
        let answer = ask(driver, task).await;
        (alloc.id.clone(), name.clone(), judge(task, has_agent, &answer))
    });
    let mut observed: BTreeMap<String, BTreeMap<String, Observed>> = BTreeMap::new();
    for (alloc, task, how) in join_all(asked).await {
        observed.entry(alloc).or_default().insert(task, how);
    }
    Observation { job, has_agent, observed }
}

/// What a driver answers of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    Runs,
    Ended,
    /// It does not know the task.
    NotKnown,
    /// It cannot say.
    None(String),
}

async fn ask(driver: Option<&DriverClient>, task: &TaskState) -> Reply {
    if task.phase.is_over() || task.run.is_empty() {
        return Reply::NotKnown;
    }
    let Some(driver) = driver else { return Reply::None("its driver is not running".to_owned()) };
    match timeout(PATIENCE, driver.inspect_task(task.run.as_str().into())).await {
        Ok(Ok(inspected)) if inspected.state == Inspected::Running => Reply::Runs,
        Ok(Ok(_)) => Reply::Ended,
        Ok(Err(error)) if error.is_task_not_found() => Reply::NotKnown,
        Ok(Err(error)) => Reply::None(error.to_string()),
        Err(_) => Reply::None(format!("its driver does not answer within {} s", PATIENCE.as_secs())),
    }
}

fn judge(task: &TaskState, has_agent: bool, answer: &Reply) -> Observed {
    let lost = |why: &str| (Status::Lost, Some(why.to_owned()));
    let unknown = |why: &str| (Status::Unknown, Some(why.to_owned()));
    let (status, why) = match (task.phase, answer) {
        (Phase::Complete, _) => (Status::Complete, None),
        (Phase::Failed, _) => (Status::Failed, task.reason()),
        (Phase::Pending | Phase::Running, Reply::Runs) => (Status::Running, None),
        (Phase::Pending, _) if has_agent => (Status::Pending, task.waits_for()),
        (Phase::Pending, _) => lost("waiting to start, but its agent is not running"),
        (Phase::Running, Reply::None(why)) => unknown(why),
        (Phase::Running, Reply::NotKnown) if has_agent => unknown("its driver does not know it"),
        (Phase::Running, Reply::NotKnown) => lost("its agent is not running and its driver does not know it"),
        (Phase::Running, Reply::Ended) if has_agent => lost("its container has exited, but its agent has not noticed"),
        (Phase::Running, Reply::Ended) => lost("its container has exited and its agent is not running"),
    };
    Observed { status, why }
}

impl Observation {
    /// How a task of an allocation is.
    pub(crate) fn task(&self, alloc: &str, task: &str) -> Observed {
        let observed = self.observed.get(alloc).and_then(|tasks| tasks.get(task));
        observed.cloned().unwrap_or(Observed { status: Status::Unknown, why: None })
    }

    /// How an allocation is.
    pub(crate) fn alloc(&self, alloc: &AllocState) -> Status {
        Status::together(
            self.observed.get(&alloc.id).into_iter().flat_map(BTreeMap::values).map(|observed| observed.status),
        )
    }

    /// How the job is, and why it is not as it should be.
    pub(crate) fn job(&self) -> Observed {
        let of = |status| self.job.allocs.iter().filter(move |alloc| self.alloc(alloc) == status);
        match Status::together(self.job.allocs.iter().map(|alloc| self.alloc(alloc))) {
            Status::Running | Status::Pending if !self.has_agent => {
                Observed { status: Status::Lost, why: Some("its agent is not running".to_owned()) }
            }
            Status::Failed => {
                let runs = of(Status::Running).count();
                let why = format!(
                    "{} of {} allocations failed, {runs} running",
                    of(Status::Failed).count(),
                    self.observed.len()
                );
                Observed { status: Status::Failed, why: Some(why).filter(|_| runs > 0) }
            }
            status => {
                let tasks = self.observed.values().flat_map(BTreeMap::values);
                let why = tasks.filter(|observed| observed.status == status).find_map(|observed| observed.why.clone());
                Observed { status, why: why.filter(|_| matches!(status, Status::Lost | Status::Unknown)) }
            }
        }
    }

    /// Whether the agent is about to record something that the driver knows already.
    fn is_behind(&self) -> bool {
        let phase = |alloc: &AllocState, task: &str| alloc.tasks.get(task).map(|task| task.phase);
        let is_behind = |alloc: &AllocState| {
            self.observed.get(&alloc.id).into_iter().flatten().any(|(task, observed)| {
                phase(alloc, task) == Some(Phase::Running) && matches!(observed.status, Status::Lost | Status::Unknown)
            })
        };
        self.has_agent && self.job.allocs.iter().any(is_behind)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{process::Process, state::Event};

    fn task(phase: Phase) -> TaskState {
        TaskState { phase, run: "a/t/1".into(), ..TaskState::default() }
    }

    fn observation(has_agent: bool, allocs: &[&[(Phase, Reply)]]) -> Observation {
        let mut job = JobState { id: "job".into(), agent: Process::default(), ..JobState::default() };
        let mut observed = BTreeMap::new();
        for (index, tasks) in allocs.iter().enumerate() {
            let names = (0..tasks.len()).map(|number| number.to_string());
            let states = tasks.iter().map(|(phase, _)| task(*phase));
            let judged = tasks.iter().map(|(phase, answer)| judge(&task(*phase), has_agent, answer));
            observed.insert(index.to_string(), names.clone().zip(judged).collect());
            job.allocs.push(AllocState {
                id: index.to_string(),
                group: "g".into(),
                index: 0,
                ports: Vec::new(),
                network: None,
                tasks: names.zip(states).collect(),
            });
        }
        Observation { job, has_agent, observed }
    }

    fn status(has_agent: bool, allocs: &[&[(Phase, Reply)]]) -> (Status, Option<String>) {
        let Observed { status, why } = observation(has_agent, allocs).job();
        (status, why)
    }

    #[test]
    fn a_job_of_which_a_group_has_failed_for_good_does_not_run() {
        let runs = || (Phase::Running, Reply::Runs);
        let ended = |phase| (phase, Reply::NotKnown);

        let both = status(true, &[&[runs()], &[ended(Phase::Failed)]]);
        assert_eq!(both, (Status::Failed, Some("1 of 2 allocations failed, 1 running".into())));
        assert_eq!(status(true, &[&[ended(Phase::Failed)]]), (Status::Failed, None));
        assert_eq!(status(true, &[&[runs(), ended(Phase::Pending)]]), (Status::Running, None));
        assert_eq!(status(true, &[&[runs()], &[ended(Phase::Complete)]]), (Status::Running, None));
    }

    #[test]
    fn a_job_without_an_agent_is_lost_whatever_runs_of_it() {
        for (phase, answer, of_task) in [
            (Phase::Running, Reply::Runs, Status::Running),
            (Phase::Running, Reply::Ended, Status::Lost),
            (Phase::Running, Reply::NotKnown, Status::Lost),
            (Phase::Pending, Reply::NotKnown, Status::Lost),
        ] {
            assert_eq!(judge(&task(phase), false, &answer).status, of_task, "{phase:?} {answer:?}");
            assert_eq!(status(false, &[&[(phase, answer)]]).0, Status::Lost);
        }
        assert_eq!(status(false, &[&[(Phase::Complete, Reply::NotKnown)]]), (Status::Complete, None));
    }

    #[test]
    fn what_nobody_can_be_asked_of_is_unknown() {
        for has_agent in [true, false] {
            let away = || Reply::None("away".into());
            assert_eq!(status(has_agent, &[&[(Phase::Running, away())]]), (Status::Unknown, Some("away".into())));
        }
        assert_eq!(judge(&task(Phase::Running), true, &Reply::NotKnown).status, Status::Unknown);
    }

    #[test]
    fn a_task_runs_as_soon_as_its_driver_says_so() {
        assert_eq!(judge(&task(Phase::Pending), true, &Reply::Runs).status, Status::Running);
        assert_eq!(judge(&task(Phase::Pending), false, &Reply::Runs).status, Status::Running);
    }

    #[test]
    fn a_task_that_waits_says_what_for() {
        let event =
            |kind: &str, message: &str| Event { at: SystemTime::now(), kind: kind.into(), message: message.into() };
        let waiting = TaskState {
            restarts_at: Some(SystemTime::now() + Duration::from_millis(9_500)),
            events: vec![event("Terminated", "Exit Code: 3"), event("Restarting", "in a moment")],
            ..task(Phase::Pending)
        };

        let observed = judge(&waiting, true, &Reply::NotKnown);

        assert_eq!(observed.status, Status::Pending);
        assert_eq!(observed.why.as_deref(), Some("Exit Code: 3; restarts in 10s"));
    }

    #[test]
    fn an_agent_that_has_not_recorded_an_end_yet_is_given_time() {
        assert!(observation(true, &[&[(Phase::Running, Reply::Ended)]]).is_behind());
        assert!(!observation(true, &[&[(Phase::Running, Reply::Runs)]]).is_behind());
        assert!(!observation(false, &[&[(Phase::Running, Reply::Ended)]]).is_behind());
    }
}
