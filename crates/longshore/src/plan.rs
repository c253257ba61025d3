//! What a start of a job makes of what an earlier agent left of it. Pure: a state and a job file in, a plan out.
//!
//! ```text
//! never run, or over     -> begin afresh; what is left of the last run is removed
//! tasks not over         -> take them over
//! the job file lost one  -> an error
//! ```

use std::collections::BTreeMap;

use nomad_jobspec::job::Job;
use nomad_plugin::{driver::TaskHandle, id::TaskId};

use crate::{
    Failure,
    process::Process,
    state::{AllocState, JobState},
    task_runner::left_running,
};

/// The runs of an allocation's tasks, by task.
pub(crate) type Runs = BTreeMap<String, TaskHandle>;

/// How a job begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The job's state as this agent begins with it.
    pub(crate) state: JobState,
    /// What the earlier agent left running, by allocation: each that is not over has an entry.
    pub(crate) left: BTreeMap<String, Runs>,
    /// The allocations of a run that is over: their networks, where they have any, and their directories are removed.
    pub(crate) over: Vec<AllocState>,
    /// What the person is to know.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// Decides. `before` is what there is of the job, `digest` that of the job file's text, `agent` this process.
    pub(crate) fn new(before: Option<&JobState>, job: &Job, digest: &str, agent: Process) -> Result<Self, Failure> {
        let mut state = before.cloned().unwrap_or_default();
        let (mut left, mut over, mut notes) = (BTreeMap::new(), Vec::new(), Vec::new());
        if state.phase().is_over() {
            over = std::mem::take(&mut state.allocs);
        } else {
            continues(&state, job)?;
            notes.push(format!("recovering {} allocation(s) of an earlier agent", state.allocs.len()));
            if state.source_digest != digest {
                notes.push(
                    "the job file has changed: running tasks are not updated; stop the job to apply the change".into(),
                );
            }
            left = state.allocs.iter().map(|alloc| (alloc.id.clone(), left_running(&alloc.tasks))).collect();
        }
        (state.id, state.agent, state.placed) = (job.id.clone(), agent, false);
        digest.clone_into(&mut state.source_digest);
        Ok(Self { state, left, over, notes })
    }

    /// The runs that a driver has to take over.
    pub(crate) fn handles(&self) -> BTreeMap<TaskId, TaskHandle> {
        let runs = self.left.values().flat_map(BTreeMap::values);
        runs.map(|handle| (handle.config.id.clone(), handle.clone())).collect()
    }

    /// Whether an allocation is one whose tasks are taken over.
    pub(crate) fn takes_over(&self, alloc: &AllocState) -> bool {
        self.left.contains_key(&alloc.id)
    }
}

/// Whether the job file still has what an earlier agent left of it.
fn continues(state: &JobState, job: &Job) -> Result<(), Failure> {
    let has = |group: &str, task: &String| {
        job.groups.iter().any(|known| known.name == group && known.tasks.iter().any(|known| known.name == *task))
    };
    for alloc in &state.allocs {
        if let Some(task) = alloc.tasks.keys().find(|task| !has(&alloc.group, task)) {
            let group = &alloc.group;
            let message = format!("the job file no longer has task {task:?} of group {group:?}, which is not over yet");
            return Err(Failure::Usage(format!("{message}\nhint: longshore stop {}", job.id)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use nomad_plugin::driver::TaskConfig;

    use super::*;
    use crate::{
        job_file::from_text,
        state::{Phase, TaskState},
    };

    fn job(tasks: &[&str]) -> Job {
        let tasks: Vec<String> =
            tasks.iter().map(|task| format!("task \"{task}\" {{\n driver = \"docker\"\n }}\n")).collect();
        let tasks = tasks.concat();
        from_text(&format!("job \"j\" {{\n group \"g\" {{\n {tasks} }}\n }}\n")).parsed.job
    }

    /// What an earlier agent left: one allocation with these tasks, of a job file with the digest `before`.
    fn left(tasks: &[(&str, Phase, Option<&str>)]) -> JobState {
        let handle = |id: &str| {
            let config = TaskConfig { id: id.into(), ..TaskConfig::default() };
            BASE64.encode(TaskHandle { config, ..TaskHandle::default() }.to_bytes())
        };
        let task = |(name, phase, run): &(&str, Phase, Option<&str>)| {
            ((*name).to_owned(), TaskState { phase: *phase, handle: run.map(handle), ..TaskState::default() })
        };
        let alloc = AllocState::of_test(tasks.iter().map(task).collect());
        JobState {
            id: "j".into(),
            source_digest: "before".into(),
            placed: true,
            allocs: vec![alloc],
            ..JobState::default()
        }
    }

    fn plan(before: Option<&JobState>, tasks: &[&str]) -> Plan {
        Plan::new(before, &job(tasks), "now", Process::own()).unwrap()
    }

    #[test]
    fn a_job_that_never_ran_begins_with_nothing() {
        let plan = plan(None, &["t"]);

        let expected =
            JobState { id: "j".into(), agent: Process::own(), source_digest: "now".into(), ..JobState::default() };
        assert_eq!((plan.state, plan.over, plan.notes), (expected, Vec::new(), Vec::new()));
        assert!(plan.left.is_empty());
    }

    #[test]
    fn what_is_left_of_a_run_that_is_over_is_removed() {
        let before = left(&[("t", Phase::Complete, None), ("u", Phase::Failed, None)]);

        let plan = plan(Some(&before), &["t"]);

        assert_eq!((&plan.over, plan.state.allocs.len(), plan.left.len()), (&before.allocs, 0, 0));
        assert!(!plan.takes_over(&before.allocs[0]) && plan.notes.is_empty());
    }

    #[test]
    fn tasks_that_run_are_taken_over_and_the_job_is_to_be_placed_again() {
        let before =
            left(&[("t", Phase::Running, Some("a/t/1")), ("u", Phase::Complete, None), ("v", Phase::Pending, None)]);

        let plan = plan(Some(&before), &["t", "u", "v"]);

        assert_eq!(plan.handles().into_keys().collect::<Vec<_>>(), ["a/t/1".into()]);
        assert_eq!((&plan.state.allocs, plan.over.len(), plan.state.placed), (&before.allocs, 0, false));
        assert!(plan.takes_over(&before.allocs[0]));
        assert_eq!(plan.notes[0], "recovering 1 allocation(s) of an earlier agent");
        assert!(plan.notes[1].starts_with("the job file has changed: "), "{:?}", plan.notes);
    }

    #[test]
    fn a_task_that_runs_and_is_missing_in_the_job_file_is_an_error() {
        let before = left(&[("t", Phase::Running, Some("a/t/1")), ("u", Phase::Complete, None)]);

        let error = Plan::new(Some(&before), &job(&["t"]), "now", Process::own()).unwrap_err().to_string();

        let message = "the job file no longer has task \"u\" of group \"g\", which is not over yet";
        assert_eq!(error, format!("{message}\nhint: longshore stop j"));
    }
}
