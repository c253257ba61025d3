//! What the command line asks for, one file a verb.

mod events;
mod exec;
mod fingerprint;
mod gc;
mod images;
mod logs;
mod prefetch;
mod run;
mod signal;
mod stats;
mod status;
mod stop;
mod target;
mod validate;

use image_service::Remove;

use self::{
    stop::Confirm,
    target::{Wanted, Which},
};
use crate::{
    Failure,
    cli::{Cli, Command, JobFile},
    data_dir::DataDir,
    log_files::Stream,
};

/// Does what the command line asks for.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { options, command } = cli;
    let data = || {
        DataDir::open(options.data_dir.as_deref()).map_err(|error| {
            Failure::Usage(format!(
                "failed to open the data directory: {error}\nhint: run as the user whose jobs these are, or name another one with --data-dir"
            ))
        })
    };
    match command {
        Command::Run { file, detach: false } => run::foreground(&file, &options, data()?).await,
        Command::Run { file, detach: true } => run::detached(&file, &options, &data()?).await,
        Command::Status { target } => status::status(target.as_deref(), &data()?, options.json).await,
        Command::Logs { task, follow, stdout: _, stderr, tail, job } => {
            let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
            let wanted = Wanted { target: &task.target, task: task.task(), alloc: Which::of(job) };
            logs::logs(wanted, follow, stream, tail.from(), &data()?).await
        }
        Command::Exec { interactive, tty, task, job, target, command } => {
            let wanted = Wanted { target: &target, task: task.as_deref(), alloc: Which::of(job) };
            exec::exec(wanted, command, exec::Terminal { interactive, tty }, &data()?).await
        }
        Command::Signal { signal, task } => signal::signal(&task, &signal, &data()?).await,
        Command::Stop { target, purge: false, yes: _ } => stop::stop(&target, &options, &data()?).await,
        Command::Stop { target, purge: true, yes } => {
            let confirm = if yes { Confirm::Given } else { Confirm::Ask };
            stop::purge(&target, confirm, &options, &data()?).await
        }
        Command::Stats { task, follow } => stats::stats(&task, follow, &data()?, options.json).await,
        Command::Events { target, follow } => events::events(&target, follow, &data()?, options.json).await,
        Command::Validate { file } => validate::validate(&file, &options).await,
        Command::Images => images::images(&options, &data()?).await,
        Command::Prefetch { target, variables, variable_files, environment, forget } => {
            let file = JobFile { path: target.into(), variables, variable_files, environment };
            if forget {
                prefetch::forget(&file, &options, &data()?).await
            } else {
                prefetch::prefetch(&file, &options, &data()?).await
            }
        }
        Command::Gc { dry_run: _, now } => {
            let remove = if now { Remove::Yes } else { Remove::No };
            gc::gc(remove, &options, &data()?).await
        }
        Command::Fingerprint => fingerprint::fingerprint(&options).await,
    }
}
