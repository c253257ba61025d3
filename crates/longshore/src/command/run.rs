//! `run`: in the foreground until the job ends, or in the background.

mod detached;

pub(super) use detached::detached;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    Failure, agent,
    cli::{JobFile, Options},
    data_dir::DataDir,
    driver::Launcher,
    job_file,
    job_runner::Asks,
    report,
    stop::Stop,
};

/// Set for the process that continues in the background. The first line of its standard input are the values of
/// `-var` and of `-env` as JSON: everyone may read a process's arguments, and its children have its environment.
const DETACHED: &str = "LONGSHORE_DETACHED";

/// Runs a job until it ends. The first Ctrl-C, or SIGTERM, stops it; the next one kills.
pub(super) async fn foreground(file: &JobFile, options: &Options, data: DataDir) -> Result<(), Failure> {
    let detached = std::env::var_os(DETACHED).is_some();
    let mut file = file.clone();
    if detached {
        (file.variables, file.environment) = handed_over().map_err(|error| {
            Failure::Usage(format!("failed to read the variables for the background process: {error}"))
        })?;
    }
    let loaded = job_file::load(&file)?;
    let launcher = Launcher::new(options)?.for_job(&data, &loaded.parsed.job.id);
    let (stop, stopping) = watch::channel(Stop::No);
    let failed = |error: std::io::Error| Failure::Usage(format!("failed to install signal handlers: {error}"));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
    let mut wakes = signal(SignalKind::user_defined1()).map_err(failed)?;
    let (wake, allocs) = mpsc::channel(1);
    let mut listening = JoinSet::new();
    #[expect(clippy::disallowed_methods, reason = "it listens until the command ends")]
    listening.spawn(async move {
        while wakes.recv().await.is_some() {
            let _one_is_pending_already = wake.try_send(());
        }
    });
    #[expect(clippy::disallowed_methods, reason = "it listens until the command ends")]
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
                    _ => "stopping the job; interrupt again to kill it",
                });
            });
        }
    });
    let result = agent::run(loaded, data, launcher, Asks { job: stopping, allocs }).await;
    listening.shutdown().await;
    if result.is_ok() {
        report::note("the job has ended");
    }
    result
}

fn handed_over() -> std::io::Result<(Vec<String>, Vec<String>)> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
