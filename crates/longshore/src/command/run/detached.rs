//! `run -detach`: an agent in the background, which is waited for until it is known whether the job runs.
//!
//! ```text
//! open -> started   each task whose time has come has run for a second, or has ended well
//!      -> failed    a task has failed for good, or is tried again much later, or again and again
//! ```
//!
//! A task that ends badly and is started again soon leaves it open.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use super::DETACHED;
use crate::{
    Failure, agent,
    alloc::dir::AllocDir,
    cli::{JobFile, Options},
    command::logs,
    data_dir::DataDir,
    job_file::{self, Loaded},
    observation::{Status, observe},
    report,
    state::{AllocState, JobState, Phase, TaskState},
    text,
    turn::Turn,
};

/// How often to look how far the agent is.
const PERIOD: Duration = Duration::from_millis(20);

/// A task that has run for so long has not failed at once.
const SETTLED: Duration = Duration::from_secs(1);

/// A task that is started again later than this, or has been more often, is not waited for.
const SOON: Duration = Duration::from_secs(60);
const TRIES: u32 = 10;

/// How long an agent is waited for whose job has failed.
const LAST: Duration = Duration::from_secs(10);

/// Starts a process of its own for the job, and returns once it is known whether the job runs.
pub(crate) async fn detached(file: &JobFile, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let loaded = job_file::load(file)?;
    let job = &loaded.parsed.job.id;
    // What another agent says must not be lost. It is asked again by the new process, which keeps the lock.
    drop(agent::lock(data, job)?);
    let log = data.job(job).join("agent.log");
    let failed = |error: std::io::Error| Failure::Usage(format!("failed to continue in the background: {error}"));
    let mut agent = spawn(file, &loaded, options, data, &log).map_err(failed)?;
    let mut notes = Notes::of(&log).map_err(failed)?;
    let mut reported = BTreeMap::new();
    loop {
        // Asked before reading: what was said until the end is read after it.
        let ended = agent.try_wait().map_err(failed)?;
        notes.pass_on().map_err(failed)?;
        let state = data.load(job).map_err(failed)?.filter(|state| state.agent.pid == agent.id() && state.placed);
        if let Some(status) = ended {
            report::note(&format!("the agent's log: {}", log.display()));
            return outcome(status, state.as_ref(), data, &std::fs::read_to_string(&log).unwrap_or_default());
        }
        if let Some(state) = state {
            report_restarts(&state, &mut reported);
            match verdict(&state, SystemTime::now()) {
                Verdict::Open => {}
                Verdict::Started => match observe(state.clone(), data).await.job().status {
                    // It has ended meanwhile, which the agent is about to record.
                    Status::Failed | Status::Lost | Status::Pending => {}
                    Status::Unknown => {
                        let why = "its driver does not report whether it is running\nhint: longshore status";
                        return Err(Failure::Engine(format!("job {job:?} was started, and {why} {job}")));
                    }
                    Status::Running | Status::Complete => {
                        state.allocs.iter().for_each(|alloc| report::line(&alloc.id));
                        return Ok(());
                    }
                },
                Verdict::Failed => {
                    if state.allocs.iter().any(|alloc| alloc.is_live() && !has_failed(alloc)) {
                        report_failures(&state, data);
                        report::note(&format!(
                            "the job's other allocations keep running; `longshore stop {job}` ends them"
                        ));
                        return Err(Failure::Task);
                    }
                    if !ends(&mut agent).await.map_err(failed)? {
                        report_failures(&data.load(job).map_err(failed)?.unwrap_or(state), data);
                        report::note(&format!("the job keeps running; `longshore stop {job}` ends it"));
                        return Err(Failure::Task);
                    }
                }
            }
        }
        sleep(PERIOD).await;
    }
}

fn spawn(file: &JobFile, loaded: &Loaded, options: &Options, data: &DataDir, log: &Path) -> std::io::Result<Child> {
    let output = File::create(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--data-dir").arg(data.path());
    for (flag, path) in [("--plugin", &options.plugin), ("--config", &options.config)] {
        if let Some(path) = path {
            command.arg(flag).arg(std::path::absolute(path)?);
        }
    }
    for _ in 0..options.verbose {
        command.arg("-v");
    }
    command.arg("run").arg(&file.path);
    for path in &file.variable_files {
        command.arg("--var-file").arg(path);
    }
    let mut child = command
        .env(DETACHED, "1")
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let environment: Vec<String> = loaded.passed.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = if file.is_stdin() { loaded.source.text.as_str() } else { "" };
        stdin.write_all(format!("{}\n{text}", serde_json::json!([file.variables, environment])).as_bytes())?;
    }
    Ok(child)
}

/// How a job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    Started,
    Failed,
}

fn verdict(state: &JobState, now: SystemTime) -> Verdict {
    let is_up = |task: &TaskState| match task.phase {
        Phase::Running => task.started_at.is_none_or(|at| now.duration_since(at).unwrap_or_default() >= SETTLED),
        phase => phase.is_over(),
    };
    let up = |alloc: &AllocState| {
        let of = |last| alloc.tasks.values().filter(move |task| (task.turn == Turn::Poststop) == last);
        // The time of those that run after the others has come when these have ended.
        of(false).all(is_up) && (of(false).any(|task| !task.phase.is_over()) || of(true).all(is_up))
    };
    match () {
        () if tasks(state).any(|(_, _, task)| fails(task, now)) => Verdict::Failed,
        () if state.allocs.iter().all(up) => Verdict::Started,
        () => Verdict::Open,
    }
}

/// Whether a task has failed, for good or for a long time.
fn fails(task: &TaskState, now: SystemTime) -> bool {
    let is_later = |at: SystemTime| at.duration_since(now).is_ok_and(|time| time > SOON) || task.restarts > TRIES;
    task.phase == Phase::Failed || (task.phase == Phase::Pending && task.restarts_at.is_some_and(is_later))
}

fn has_failed(alloc: &AllocState) -> bool {
    alloc.tasks.values().any(|task| fails(task, SystemTime::now()))
}

fn tasks(state: &JobState) -> impl Iterator<Item = (&AllocState, &String, &TaskState)> {
    state.allocs.iter().flat_map(|alloc| alloc.tasks.iter().map(move |(name, task)| (alloc, name, task)))
}

/// Waits for the agent's end, not for ever.
async fn ends(agent: &mut Child) -> std::io::Result<bool> {
    let deadline = Instant::now() + LAST;
    while agent.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(PERIOD).await;
    }
    Ok(true)
}

/// What an agent's end says of its job.
fn outcome(status: ExitStatus, state: Option<&JobState>, data: &DataDir, said: &str) -> Result<(), Failure> {
    match status.code() {
        Some(0) => {
            state.iter().flat_map(|state| &state.allocs).for_each(|alloc| report::line(&alloc.id));
            Ok(())
        }
        Some(1) => {
            if let Some(state) = state {
                report_failures(state, data);
            }
            Err(Failure::Task)
        }
        Some(3) => Err(Failure::Engine(last_error(said))),
        Some(_) => Err(Failure::Usage(last_error(said))),
        None => {
            let signal = status.signal().unwrap_or_default();
            let hint = "hint: `longshore run` recovers its tasks, `longshore stop` ends them";
            Err(Failure::Engine(format!("the job's agent was killed by signal {signal}\n{hint}")))
        }
    }
}

fn last_error(said: &str) -> String {
    said.rsplit_once("Error: ").map_or(said, |(_, error)| error).trim_end().to_owned()
}

/// Says of each task that has failed why, and how its standard error ends.
fn report_failures(state: &JobState, data: &DataDir) {
    for (alloc, name, task) in tasks(state).filter(|(_, _, task)| fails(task, SystemTime::now())) {
        let why = text::harmless(&task.waits_for().unwrap_or_default());
        report::note(&format!("task {name:?} of allocation {} failed: {why}", report::short(&alloc.id)));
        let lines = logs::last_lines_of_stderr(&AllocDir::new(data.path(), &alloc.id), name);
        // Where logs are not collected, or were never begun, there are none.
        for line in lines.unwrap_or_default() {
            report::note(&format!("    {name}: {}", text::harmless(&line)));
        }
    }
}

/// Says of each task that is started again why, once.
fn report_restarts(state: &JobState, reported: &mut BTreeMap<(String, String), u32>) {
    for (alloc, name, task) in tasks(state).filter(|(_, _, task)| task.restarts_at.is_some()) {
        let times = reported.entry((alloc.id.clone(), name.clone())).or_default();
        if std::mem::replace(times, task.restarts) < task.restarts {
            let why = text::harmless(&task.waits_for().unwrap_or_default());
            report::note(&format!("task {name:?} of allocation {}: {why}", report::short(&alloc.id)));
        }
    }
}

/// The remarks in an agent's log, which are for the person who started it.
struct Notes {
    log: File,
    rest: Vec<u8>,
}

impl Notes {
    fn of(log: &Path) -> std::io::Result<Self> {
        Ok(Self { log: File::open(log)?, rest: Vec::new() })
    }

    fn pass_on(&mut self) -> std::io::Result<()> {
        self.log.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.rest.split_off(end + 1);
        for line in String::from_utf8_lossy(&std::mem::replace(&mut self.rest, rest)).lines() {
            if let Some(note) = line.strip_prefix("==> ") {
                report::note(&text::harmless(note));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// A job whose allocations have these tasks.
    fn judged(allocs: &[&[TaskState]]) -> Verdict {
        let alloc = |tasks: &&[TaskState]| AllocState {
            id: "a".into(),
            group: "g".into(),
            index: 0,
            ports: Vec::new(),
            network: None,
            tasks: tasks.iter().enumerate().map(|(number, task)| (number.to_string(), task.clone())).collect(),
        };
        let state = JobState { allocs: allocs.iter().map(alloc).collect(), ..JobState::default() };
        verdict(&state, SystemTime::UNIX_EPOCH + NOW)
    }

    fn task(phase: Phase) -> TaskState {
        TaskState { phase, ..TaskState::default() }
    }

    fn running_for(seconds: u64) -> TaskState {
        TaskState { started_at: Some(at(1_000_000 - seconds)), ..task(Phase::Running) }
    }

    fn restarts_in(seconds: u64, restarts: u32) -> TaskState {
        TaskState { restarts_at: Some(at(1_000_000 + seconds)), restarts, ..task(Phase::Pending) }
    }

    #[test]
    fn a_job_has_started_when_its_tasks_have_run_for_a_second_or_ended_well() {
        assert_eq!(judged(&[&[running_for(1), task(Phase::Complete)]]), Verdict::Started);
        assert_eq!(judged(&[&[running_for(0)]]), Verdict::Open);
        assert_eq!(judged(&[&[running_for(5), task(Phase::Pending)]]), Verdict::Open);
        assert_eq!(judged(&[&[running_for(5)], &[running_for(0)]]), Verdict::Open);
        assert_eq!(judged(&[&[task(Phase::Complete)]]), Verdict::Started);
    }

    #[test]
    fn a_job_has_failed_when_one_task_of_one_group_has() {
        assert_eq!(judged(&[&[running_for(5)], &[task(Phase::Failed)]]), Verdict::Failed);
        assert_eq!(judged(&[&[task(Phase::Failed), task(Phase::Pending)]]), Verdict::Failed);
    }

    #[test]
    fn a_task_that_is_started_again_soon_leaves_it_open() {
        assert_eq!(judged(&[&[restarts_in(15, 1)]]), Verdict::Open);
        assert_eq!(judged(&[&[restarts_in(61, 1)]]), Verdict::Failed);
        assert_eq!(judged(&[&[restarts_in(1, 11)]]), Verdict::Failed);
        // It runs, after all.
        assert_eq!(judged(&[&[TaskState { restarts: 11, ..running_for(5) }]]), Verdict::Started);
    }

    #[test]
    fn what_runs_after_the_others_counts_when_these_have_ended() {
        let last = |phase| TaskState { turn: Turn::Poststop, ..task(phase) };
        assert_eq!(judged(&[&[running_for(1), last(Phase::Pending)]]), Verdict::Started);
        assert_eq!(judged(&[&[task(Phase::Complete), last(Phase::Pending)]]), Verdict::Open);
        assert_eq!(judged(&[&[task(Phase::Complete), last(Phase::Failed)]]), Verdict::Failed);
    }
}
