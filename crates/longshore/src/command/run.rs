//! `run`: in the foreground until the job ends, or in the background.

use std::{
    fs::File,
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    Failure,
    cli::{JobFile, Options},
    driver::Launcher,
    host,
    job_file::{self, Loaded},
    report,
    state::{DataDir, Phase},
    stop::Stop,
};

/// Set for the process that goes on in the background. The first line of its standard input are the variables' values as
/// JSON: everyone may read a process's arguments, and its children have its environment.
const DETACHED: &str = "LONGSHORE_DETACHED";

/// Runs a job until it ends. The first Ctrl-C, or SIGTERM, stops it; the next one kills.
pub(super) async fn foreground(file: &JobFile, options: &Options, data: DataDir) -> Result<(), Failure> {
    let detached = std::env::var_os(DETACHED).is_some();
    let mut file = file.clone();
    if detached {
        file.variables =
            handed_over().map_err(|error| Failure::Usage(format!("no variables are handed over: {error}")))?;
    }
    let loaded = job_file::load(&file)?;
    let launcher = Launcher::new(options)?.of_job(&data, &loaded.parsed.job.id);
    let (stop, stopping) = watch::channel(Stop::No);
    let failed = |error: std::io::Error| Failure::Usage(format!("failed to take over signals: {error}"));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
    let mut listening = JoinSet::new();
    listening.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                _ = hangups.recv(), if !detached => {}
            }
            stop.send_modify(|stop| {
                *stop = if *stop == Stop::No { Stop::Gently } else { Stop::Now };
                report::note(match stop {
                    Stop::Now => "killing the job",
                    _ => "stopping the job; once more to kill it",
                });
            });
        }
    });
    let result = host::run(loaded, data, launcher, stopping).await;
    listening.shutdown().await;
    if result.is_ok() {
        report::note("the job has ended");
    }
    result
}

/// Starts a process of its own for the job, and returns once the job runs.
pub(super) async fn detached(file: &JobFile, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let Loaded { source, parsed, .. } = job_file::load(file)?;
    let job = parsed.job.id;
    let failed = |error: std::io::Error| Failure::Usage(format!("failed to go on in the background: {error}"));
    // What another host says must not be lost. It is asked again by the new process, which keeps the lock.
    drop(host::lock(data, &job)?);
    let log = data.job(&job).join("host.log");
    let output = File::create(&log).map_err(failed)?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("--data-dir").arg(data.path());
    for (flag, path) in [("--plugin", &options.plugin), ("--config", &options.config)] {
        if let Some(path) = path {
            command.arg(flag).arg(std::path::absolute(path).map_err(failed)?);
        }
    }
    command.arg("run").arg(&file.path);
    for path in &file.variable_files {
        command.arg("--var-file").arg(path);
    }
    let mut child = command
        .env(DETACHED, "1")
        .stdin(Stdio::piped())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        let text = if file.is_stdin() { source.text.as_str() } else { "" };
        stdin.write_all(format!("{}\n{text}", serde_json::json!(file.variables)).as_bytes()).map_err(failed)?;
    }
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            report::note(&format!("what the host said: {}", log.display()));
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return match status.code() {
                Some(0) => Ok(()),
                Some(1) => Err(Failure::Task),
                Some(3) => Err(Failure::Engine(last_error(&said))),
                _ => Err(Failure::Usage(last_error(&said))),
            };
        }
        let state = data.load(&job).map_err(failed)?.filter(|state| state.placed && state.host_pid == child.id());
        if let Some(state) = state {
            // What runs after the main tasks is not waited for.
            let is_main = |task: &str| parsed.job.groups.iter().any(|group| group.has_main(task));
            let tasks = state.allocs.iter().flat_map(|alloc| &alloc.tasks).filter(|(task, _)| is_main(task));
            let phases: Vec<Phase> = tasks.map(|(_, task)| task.phase).collect();
            if !phases.is_empty() && !phases.contains(&Phase::Pending) {
                for alloc in &state.allocs {
                    report::line(&alloc.id);
                }
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn handed_over() -> std::io::Result<Vec<String>> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn last_error(said: &str) -> String {
    said.rsplit_once("Error: ").map_or(said, |(_, error)| error).trim_end().to_owned()
}
