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
mod driver;
mod group_runner;
mod job_dir;
mod job_file;
mod log_files;
mod network;
mod node;
mod observation;
mod ports;
mod prefetched;
mod process;
mod record;
mod report;
mod restart;
mod state;
mod stop;
mod task_runner;
mod template;
mod turn;

use std::process::ExitCode;

use clap::Parser;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A task failed; its events have said why.
    #[error("a task failed")]
    Task,
    /// Images cannot be had; each has said why.
    #[error("{0}")]
    Image(String),
    /// The command line, the job file, or what they name.
    #[error("{0}")]
    Usage(String),
    /// The driver or its engine.
    #[error("{0}")]
    Engine(String),
    /// A command inside a task ended with this code.
    #[error("exit code {0}")]
    Code(u8),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Task | Self::Image(_) => 1,
            Self::Usage(_) => 2,
            Self::Engine(_) => 3,
            Self::Code(code) => *code,
        }
    }
}

fn main() -> ExitCode {
    let cli = cli::Cli::parse_from(cli::normalised(std::env::args()));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::Engine(format!("failed to start: {error}"));
            report::error(&failure.to_string());
            return failure.exit_code().into();
        }
    };
    let result = runtime.block_on(command::run(cli));
    // A read of standard input goes on until a key is pressed; nobody waits for it.
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
