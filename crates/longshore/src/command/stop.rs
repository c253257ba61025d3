//! `stop`: asks the job's agent to stop it or one of its allocations, or does it where no agent runs.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, IsTerminal, Write},
    time::Duration,
};

use futures_util::future::join_all;
use nomad_plugin::{client::ClientError, driver::Force};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::target::{self, Named};
use crate::{
    Failure,
    alloc::dir::AllocDir,
    cli::Options,
    data_dir::DataDir,
    driver::{Driver, Launcher, Supervisor},
    network,
    process::Process,
    report,
    state::{AllocState, JobState, Phase, TaskState},
    task_runner::{KILL, left_running},
    turn::Turn,
};

/// How often to look whether the agent has ended.
const PERIOD: Duration = Duration::from_millis(50);

/// How long an agent may do nothing beyond what its tasks are given to end: the driver and the engine have that time.
const SILENCE: Duration = Duration::from_secs(150);

/// How long another process may hold a job that is not its agent.
const HANDOVER: Duration = Duration::from_secs(5);

/// Whether to ask before all that is kept of a job is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirm {
    Ask,
    Given,
}

/// Stops a job, or an allocation alone.
pub(super) async fn stop(target: &str, options: &Options, data: &DataDir) -> Result<(), Failure> {
    match target::named(target, data)? {
        Named::Job(job) | Named::Prefix(job) => {
            end(&job.id, Part::Job, options, data).await?;
            report::line(&format!("job {:?} is stopped", job.id));
        }
        Named::Alloc(job) => {
            for alloc in &job.allocs {
                end(&job.id, Part::Alloc(&alloc.id), options, data).await?;
                report::line(&format!("allocation {} of job {:?} is stopped", report::short(&alloc.id), job.id));
            }
        }
    }
    Ok(())
}

/// Stops a job, and removes all that is kept of it. Nothing less than the job's whole id says which, or a person.
pub(super) async fn purge(target: &str, confirm: Confirm, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let job = match target::named(target, data)? {
        Named::Job(job) => job,
        Named::Prefix(job) if confirm == Confirm::Given || is_wanted(&job.id)? => job,
        Named::Prefix(job) => return Err(Failure::Usage(format!("job {:?} was not changed", job.id))),
        Named::Alloc(job) => {
            let message = format!("{target:?} is an allocation of job {:?}, and only jobs can be purged", job.id);
            return Err(Failure::Usage(format!("{message}\nhint: longshore stop -purge {}", job.id)));
        }
    };
    let Some(_lock) = end(&job.id, Part::Job, options, data).await? else { return Ok(()) };
    let failed = |error: std::io::Error| data.failed(&error);
    for alloc in data.load(&job.id).map_err(failed)?.into_iter().flat_map(|state| state.allocs) {
        AllocDir::new(data.path(), &alloc.id).remove().map_err(failed)?;
    }
    data.purge(&job.id).map_err(failed)?;
    report::line(&format!("job {:?} is stopped and purged", job.id));
    Ok(())
}

/// Asks the person at the terminal whether this is the job to be purged.
fn is_wanted(job: &str) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let message = format!("to purge job {job:?}, give its full id, or -yes");
        return Err(Failure::Usage(format!("{message}\nhint: longshore stop -purge {job}")));
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr(), "Stop job {job:?} and remove its logs and directories? [y/N] ");
    asked.and_then(|()| stdin.lock().read_line(&mut answer)).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What is to end.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Job,
    Alloc(&'a str),
}

impl Part<'_> {
    fn has(self, alloc: &AllocState) -> bool {
        match self {
            Self::Job => true,
            Self::Alloc(id) => alloc.id == id,
        }
    }

    /// Whether nothing of it is left.
    fn is_over(self, state: &JobState) -> bool {
        let allocs_are_over = !state.allocs.iter().any(|alloc| self.has(alloc) && alloc.is_live());
        match self {
            Self::Job => allocs_are_over && state.driver.is_none(),
            Self::Alloc(_) => allocs_are_over,
        }
    }

    /// Asks the agent, whose process is sent a signal; whether it was there.
    fn ask(self, job: &str, agent: Process, data: &DataDir) -> std::io::Result<bool> {
        let signal = match self {
            Self::Job => Signal::TERM,
            Self::Alloc(id) => {
                data.ask_to_stop(job, id)?;
                Signal::USR1
            }
        };
        Ok(agent.signal(signal))
    }
}

/// Ends a job or a part of it. Where the agent has ended, this process has the job, and keeps other agents from it.
async fn end(job: &str, part: Part<'_>, options: &Options, data: &DataDir) -> Result<Option<File>, Failure> {
    let failed = |error: std::io::Error| data.failed(&error);
    let mut wait = Wait::default();
    let mut asked = None;
    loop {
        if let Some(lock) = data.lock(job).map_err(failed)? {
            // No agent runs: what it left, if it was killed, is ended here.
            if let Some(state) = data.load(job).map_err(failed)? {
                end_what_is_left(state, part, options, data).await?;
            }
            if let Part::Alloc(alloc) = part {
                data.has_stopped(job, alloc).map_err(failed)?;
            }
            return Ok(Some(lock));
        }
        let state = data.load(job).map_err(failed)?.unwrap_or_default();
        if matches!(part, Part::Alloc(_)) && part.is_over(&state) {
            return Ok(None);
        }
        // A number in the state may be another process's by now: only the job's agent is asked, once.
        let agent = Some(state.agent).filter(|agent| agent.runs());
        if agent.is_some() && agent != asked && part.ask(job, state.agent, data).map_err(failed)? {
            asked = agent;
        }
        wait.judge(&state, agent, Instant::now())
            .map_err(|why| Failure::Engine(format!("failed to stop job {job:?}: {why}")))?;
        sleep(PERIOD).await;
    }
}

/// Waits for an agent's doing as long as it does something.
#[derive(Default)]
struct Wait {
    /// The last news, and when it came.
    news: Option<(JobState, Option<Process>, Instant)>,
}

impl Wait {
    /// Takes what there is to be seen; the error is that nothing has happened for too long.
    fn judge(&mut self, state: &JobState, agent: Option<Process>, now: Instant) -> Result<(), String> {
        let since = match &self.news {
            Some((last, last_agent, since)) if last == state && *last_agent == agent => *since,
            _ => {
                self.news = Some((state.clone(), agent, now));
                now
            }
        };
        let silence = now.duration_since(since);
        let Some(agent) = agent else {
            let message =
                "another process, which is not its agent, holds its lock\nhint: try again when that process has exited";
            return if silence < HANDOVER { Ok(()) } else { Err(message.to_owned()) };
        };
        let tasks = || state.allocs.iter().flat_map(|alloc| alloc.tasks.values()).filter(|task| !task.phase.is_over());
        // What runs after the others takes the time that it takes.
        if tasks().any(|task| task.turn == Turn::Poststop && task.phase == Phase::Running) {
            return Ok(());
        }
        let given = Duration::from_millis(tasks().map(|task| task.kill_timeout_ms).max().unwrap_or_default());
        if silence < given.saturating_add(SILENCE) {
            return Ok(());
        }
        let Process { pid, .. } = agent;
        let message = format!("its agent, process {pid}, has made no progress for {} s", silence.as_secs());
        Err(format!("{message}\nhint: kill -9 {pid}, and stop the job again"))
    }
}

async fn end_what_is_left(
    mut state: JobState,
    part: Part<'_>,
    options: &Options,
    data: &DataDir,
) -> Result<(), Failure> {
    if part.is_over(&state) {
        return Ok(());
    }
    report::note("the job's agent is not running; stopping its tasks directly");
    let left = state.allocs.iter().flat_map(|alloc| left_running(&alloc.tasks));
    let handles = left.map(|(_, handle)| (handle.config.id.clone(), handle)).collect();
    let launcher = Launcher::new(options)?.for_job(data, &state.id);
    let supervisor = Supervisor::start(launcher, state.driver.clone(), handles, Box::new(|_| {})).await?;
    let ended = end_all(&mut state, part, &supervisor.driver()).await;
    state.driver = if state.phase().is_over() {
        supervisor.end().await;
        None
    } else {
        // Others run under it, or it is asked again.
        Some(supervisor.leave().await)
    };
    // Also where not all is ended: what is, need not be ended again.
    data.store(&state).map_err(|error| data.failed(&error))?;
    ended
}

async fn end_all(state: &mut JobState, part: Part<'_>, driver: &Driver) -> Result<(), Failure> {
    let mut allocs: Vec<&mut AllocState> = state.allocs.iter_mut().filter(|alloc| part.has(alloc)).collect();
    let ended = join_all(allocs.iter_mut().map(|alloc| end_tasks(alloc, driver))).await;
    let first = ended.into_iter().collect::<Result<(), _>>();
    let removed = network::remove_all(driver, allocs).await;
    first.map_err(|error| Failure::Engine(error.to_string())).and(removed)
}

/// Ends an allocation's tasks in their turns.
async fn end_tasks(alloc: &mut AllocState, driver: &Driver) -> Result<(), Unended> {
    let mut turns: BTreeMap<Turn, Vec<&mut TaskState>> = BTreeMap::new();
    for task in alloc.tasks.values_mut().filter(|task| !task.phase.is_over()) {
        turns.entry(task.turn).or_default().push(task);
    }
    let mut first = Ok(());
    for tasks in turns.into_values() {
        let ended = join_all(tasks.into_iter().map(|task| end_task(task, driver))).await;
        first = first.and(ended.into_iter().collect());
    }
    first
}

/// Why a task has not ended.
#[derive(Debug, thiserror::Error)]
enum Unended {
    #[error(transparent)]
    Refused(#[from] ClientError),
    #[error("the driver did not stop {0} in time")]
    Late(String),
}

async fn end_task(task: &mut TaskState, driver: &Driver) -> Result<(), Unended> {
    let given = Duration::from_millis(task.kill_timeout_ms);
    let ended = timeout(given.saturating_add(SILENCE), ended(task, given, driver)).await;
    task.exit_code = ended.map_err(|_| Unended::Late(task.run.clone()))??;
    (task.phase, task.handle) = (Phase::Complete, None);
    Ok(())
}

/// Ends a task, asked first; its exit code, where it ran.
async fn ended(task: &TaskState, given: Duration, driver: &Driver) -> Result<Option<i32>, ClientError> {
    let id = task.run.as_str();
    let stop = |given, signal: &str| {
        let signal = signal.to_owned();
        driver.call(move |client| {
            let signal = signal.clone();
            async move { client.stop_task(id.into(), given, signal).await }
        })
    };
    let mut exit_code = task.exit_code;
    if task.handle.is_some() {
        let mut stopped = stop(given, &task.kill_signal).await;
        if let Err(error) = &stopped
            && !error.is_task_not_found()
        {
            report::note(&format!("failed to stop {id}; killing it: {error}"));
            stopped = stop(Duration::ZERO, KILL).await;
        }
        match stopped {
            Ok(()) => {
                let waited = driver.call(|client| async move { client.wait_task(id.into()).await }).await?;
                exit_code = Some(waited.result.exit_code);
            }
            // Its container was removed before.
            Err(error) if error.is_task_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    match driver.call(|client| async move { client.destroy_task(id.into(), Force::Yes).await }).await {
        // It was not started yet, or waited to be started again.
        Err(error) if !error.is_task_not_found() => Err(error),
        _ => Ok(exit_code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(turn: Turn) -> JobState {
        let task = TaskState { phase: Phase::Running, kill_timeout_ms: 30_000, turn, ..TaskState::default() };
        let alloc = AllocState::of_test(BTreeMap::from([("t".into(), task)]));
        JobState { allocs: vec![alloc], agent: Process::own(), ..JobState::default() }
    }

    #[tokio::test]
    async fn an_agent_that_does_nothing_is_not_waited_for_without_end() {
        let (mut wait, begin, state) = (Wait::default(), Instant::now(), state(Turn::Main));
        let mut judge =
            |state: &JobState, seconds| wait.judge(state, Some(state.agent), begin + Duration::from_secs(seconds));

        assert_eq!(judge(&state, 0), Ok(()));
        assert_eq!(judge(&state, 179), Ok(()));
        let why = judge(&state, 180).unwrap_err();
        let pid = std::process::id();
        assert_eq!(
            why,
            format!(
                "its agent, process {pid}, has made no progress for 180 s\nhint: kill -9 {pid}, and stop the job again"
            )
        );
        // News are that it does something.
        let news = JobState { placed: true, ..state };
        assert_eq!(judge(&news, 181), Ok(()));
        assert_eq!(judge(&news, 360), Ok(()));
    }

    #[tokio::test]
    async fn what_runs_after_the_others_is_given_its_time() {
        let (mut wait, begin, state) = (Wait::default(), Instant::now(), state(Turn::Poststop));
        let day = Duration::from_secs(24 * 60 * 60);

        let judged = [begin, begin + day].map(|now| wait.judge(&state, Some(state.agent), now));

        assert_eq!(judged, [Ok(()), Ok(())]);
    }

    #[tokio::test]
    async fn a_job_that_a_stranger_holds_is_not_waited_for_without_end() {
        let (mut wait, begin, state) = (Wait::default(), Instant::now(), state(Turn::Main));

        let judged = [begin, begin + HANDOVER].map(|now| wait.judge(&state, None, now));

        assert_eq!(judged[0], Ok(()));
        assert!(
            judged[1].as_ref().unwrap_err().starts_with("another process, which is not its agent, holds its lock"),
            "{judged:?}"
        );
    }
}
