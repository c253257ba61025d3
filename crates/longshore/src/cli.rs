//! The command line, in the habits of Nomad's own.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs a Nomad job file on one machine, without Nomad.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, about, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 fine, 1 a task failed, 2 wrong command line or job file, 3 no driver or engine.\n\
    Flags may be written with one dash or two: -var, --var."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where jobs, allocations and logs are kept
    #[arg(long, global = true, env = "LONGSHORE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The driver's program [default: nomad-driver-docker beside this program]
    #[arg(long, global = true, env = "LONGSHORE_PLUGIN", value_name = "PATH")]
    pub(crate) plugin: Option<PathBuf>,
    /// A file with the driver's configuration: what stands in `plugin "docker" { config { ... } }`
    #[arg(long, global = true, env = "LONGSHORE_PLUGIN_CONFIG", value_name = "FILE")]
    pub(crate) plugin_config: Option<PathBuf>,
    /// Answers for programs instead of people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a job until it ends; Ctrl-C stops it, a second Ctrl-C kills it
    Run {
        #[command(flatten)]
        file: JobFile,
        /// Goes on in the background once the job runs
        #[arg(long)]
        detach: bool,
    },
    /// Shows jobs, or one job with its tasks
    Status {
        /// A job or an allocation, or the beginning of one's id
        target: Option<String>,
    },
    /// Prints what a task wrote
    Logs {
        #[command(flatten)]
        task: TaskOf,
        /// Goes on as more is written
        #[arg(short, long)]
        follow: bool,
        /// Standard error instead of standard output
        #[arg(long)]
        stderr: bool,
    },
    /// Runs a command inside a task
    Exec {
        /// Passes standard input on
        #[arg(short, long)]
        interactive: bool,
        /// Gives the command a terminal
        #[arg(short, long)]
        tty: bool,
        /// The task's name, where there are more than one
        #[arg(long)]
        task: Option<String>,
        /// A job or an allocation
        target: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Sends a signal to a job's tasks
    Signal {
        /// The signal's name
        #[arg(short, long, default_value = "SIGKILL")]
        signal: String,
        #[command(flatten)]
        task: TaskOf,
    },
    /// Stops a job
    Stop {
        /// A job or an allocation
        target: String,
    },
    /// Shows what tasks use
    Stats {
        #[command(flatten)]
        task: TaskOf,
        /// Goes on, one line a task and second
        #[arg(short, long)]
        follow: bool,
    },
    /// Shows what happened to a job's tasks
    Events {
        /// A job or an allocation
        target: String,
        /// Goes on as more happens
        #[arg(short, long)]
        follow: bool,
    },
    /// Checks a job file against the driver's schema; runs nothing
    Validate {
        #[command(flatten)]
        file: JobFile,
    },
    /// Shows what the driver says of this machine
    Fingerprint,
}

/// A job file with its variables.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobFile {
    /// The job file
    #[arg(value_name = "FILE")]
    pub(crate) path: PathBuf,
    /// A variable's value
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
    /// A file of variables
    #[arg(long = "var-file", value_name = "FILE")]
    pub(crate) variable_files: Vec<PathBuf>,
}

/// Tasks of a job.
#[derive(Args, Clone, Debug)]
pub(crate) struct TaskOf {
    /// A job or an allocation, or the beginning of one's id
    pub(crate) target: String,
    /// The task's name, where there are more than one
    pub(crate) task: Option<String>,
}

/// Nomad writes long flags with one dash.
pub(crate) fn normalised(args: impl Iterator<Item = String>) -> Vec<String> {
    const LONG: [&str; 14] = [
        "var",
        "var-file",
        "detach",
        "json",
        "stderr",
        "task",
        "follow",
        "tty",
        "interactive",
        "signal",
        "data-dir",
        "plugin",
        "plugin-config",
        "help",
    ];
    let mut of_exec = false;
    let mut positionals = 0;
    let mut normalised = Vec::new();
    for arg in args {
        // What stands behind the target of `exec` is the command's own.
        let own = of_exec && positionals > 3;
        let name = arg.strip_prefix('-').map(|name| name.split('=').next().unwrap_or_default());
        if !own && name.is_some_and(|name| LONG.contains(&name)) {
            normalised.push(format!("-{arg}"));
        } else {
            positionals += usize::from(!arg.starts_with('-'));
            of_exec |= arg == "exec";
            normalised.push(arg);
        }
    }
    normalised
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::parse_from(normalised(line.split(' ').map(str::to_owned)))
    }

    #[test]
    fn flags_may_be_written_as_nomad_does() {
        let Command::Run { file, detach } = parse("longshore run -detach -var a=1 -var-file=f job.hcl").command else {
            panic!("no run");
        };
        assert!(detach);
        assert_eq!((file.variables, file.variable_files), (vec!["a=1".to_owned()], vec!["f".into()]));
    }

    #[test]
    fn a_commands_own_flags_are_left_to_it() {
        let Command::Exec { command, interactive, tty, .. } = parse("longshore exec -it web ls -task -l").command
        else {
            panic!("no exec");
        };
        assert!(interactive && tty);
        assert_eq!(command, ["ls", "-task", "-l"]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
