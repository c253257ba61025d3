//! `longshore`: runs a Nomad job file on one machine, without Nomad.
//!
//! Exit codes: 0 fine; 1 a task failed, or an image cannot be had; 2 the command line or the job file is wrong; 3 the driver or its engine does not
//! answer; `exec` returns the command's own code.

mod agent;
mod agent_file;
mod alloc;
mod bars;
mod bounded;
mod cli;
mod command;
mod constraint;
mod cores;
mod data_dir;
mod driver;
mod driver_events;
mod failure;
#[cfg(test)]
mod fake_driver;
mod group_runner;
mod job_dir;
mod job_file;
mod job_runner;
mod log_files;
mod network;
mod node;
mod observation;
mod placement;
mod plan;
mod ports;
mod prefetched;
mod process;
mod record;
mod report;
mod restart;
mod state;
mod stop;
mod task_config;
mod task_runner;
mod template;
mod text;
mod turn;
mod validation;
mod verbosity;

use std::process::ExitCode;

use clap::Parser;

use self::failure::Failure;

fn main() -> ExitCode {
    let cli = cli::Cli::parse_from(cli::normalised(std::env::args()));
    verbosity::set(cli.options.verbosity());
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::Engine(format!("failed to start: {error}"));
            report::error(&failure.to_string());
            return failure.exit_code().into();
        }
    };
    let result = runtime.block_on(command::run(cli));
    // A read of standard input lasts until a key is pressed; nobody waits for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Code(_)) {
                report::error(&failure.to_string());
            }
            failure.exit_code().into()
        }
    }
}
