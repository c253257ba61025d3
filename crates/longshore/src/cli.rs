//! The command line, in the habits of Nomad's own.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs a Nomad job file on one machine, without Nomad.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, about, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 fine, 1 a task failed or an image cannot be had, 2 wrong command line or job file, \
    3 no driver or engine.\n\
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
    /// An agent's configuration file; its `plugin "docker"` block, and the older client options, configure the driver
    #[arg(long, global = true, env = "LONGSHORE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
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
        /// Standard output, which is what is shown if nothing is said
        #[arg(long, conflicts_with = "stderr")]
        stdout: bool,
        /// Standard error instead of standard output
        #[arg(long)]
        stderr: bool,
        #[command(flatten)]
        tail: Tail,
        /// Any of the job's allocations will do
        #[arg(long)]
        job: bool,
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
        /// Any of the job's allocations will do
        #[arg(long)]
        job: bool,
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
    /// Stops a job, or one of its allocations alone
    Stop {
        /// A job or an allocation, or the beginning of one's id
        target: String,
        /// Forgets the job, with its logs and directories; asks first unless the job's whole id is given
        #[arg(long)]
        purge: bool,
        /// Answers yes to that question
        #[arg(long, requires = "purge")]
        yes: bool,
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
    /// Shows the images that tasks use or that drivers brought: who uses them, and when they go
    Images,
    /// Fetches images before a task needs them; they are kept until they are forgotten
    Prefetch {
        /// An image, or a job file: - for standard input, a path from / or ., or a name that ends in .hcl, .nomad or .json
        #[arg(value_name = "IMAGE|FILE")]
        target: String,
        /// A variable's value
        #[arg(long = "var", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// A file of variables
        #[arg(long = "var-file", value_name = "FILE")]
        variable_files: Vec<PathBuf>,
        /// What `${env.NAME}` is in the job file
        #[arg(long = "env", value_name = "NAME[=VALUE]")]
        environment: Vec<String>,
        /// Keeps them no longer; removes nothing by itself
        #[arg(long)]
        forget: bool,
    },
    /// Shows what the driver says of this machine
    Fingerprint,
}

/// A job file with its variables.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobFile {
    /// The job file; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) path: PathBuf,
    /// A variable's value
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
    /// A file of variables
    #[arg(long = "var-file", value_name = "FILE")]
    pub(crate) variable_files: Vec<PathBuf>,
    /// What `${env.NAME}` is in the job file where its task has no such variable; without a value, that of this command
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) environment: Vec<String>,
}

impl JobFile {
    /// Whether the file comes from standard input.
    pub(crate) fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }
}

/// Tasks of a job.
#[derive(Args, Clone, Debug)]
pub(crate) struct TaskOf {
    /// A job or an allocation, or the beginning of one's id
    pub(crate) target: String,
    /// The task's name, where there are more than one
    #[arg(conflicts_with = "flag")]
    task: Option<String>,
    /// The same as TASK
    #[arg(long = "task", id = "flag", value_name = "NAME")]
    flag: Option<String>,
}

impl TaskOf {
    /// The task's name, if one was given.
    pub(crate) fn task(&self) -> Option<&str> {
        self.task.as_deref().or(self.flag.as_deref())
    }
}

/// The end of a log.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Tail {
    /// The last lines only
    #[arg(long = "tail", id = "tail")]
    from_end: bool,
    /// How many lines from the end [default with -tail: 10]
    #[arg(short = 'n', value_name = "LINES", conflicts_with = "bytes")]
    lines: Option<u64>,
    /// How many bytes from the end
    #[arg(short = 'c', value_name = "BYTES")]
    bytes: Option<u64>,
}

/// Where in a log to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// At what is kept of its beginning.
    Beginning,
    /// So many lines before the end.
    Lines(u64),
    /// So many bytes before the end.
    Bytes(u64),
}

impl Tail {
    /// What the flags say together.
    pub(crate) fn from(self) -> From {
        const LINES: u64 = 10;
        match self {
            Self { lines: Some(lines), .. } => From::Lines(lines),
            Self { bytes: Some(bytes), .. } => From::Bytes(bytes),
            Self { from_end: true, .. } => From::Lines(LINES),
            Self { .. } => From::Beginning,
        }
    }
}

/// Nomad writes long flags with one dash.
pub(crate) fn normalised(args: impl Iterator<Item = String>) -> Vec<String> {
    const SWITCHES: [&str; 14] = [
        "detach",
        "json",
        "stdout",
        "stderr",
        "follow",
        "tail",
        "tty",
        "interactive",
        "job",
        "purge",
        "yes",
        "forget",
        "help",
        "version",
    ];
    const WITH_VALUE: [&str; 8] = ["var", "var-file", "env", "task", "signal", "data-dir", "plugin", "config"];
    // The program, the verb, the target and the command: what stands behind them is the command's own.
    const OF_EXEC: usize = 3;
    let mut positionals = Vec::new();
    let mut normalised: Vec<String> = Vec::new();
    let mut value = false;
    for arg in args {
        let own = positionals.get(1).is_some_and(|verb| verb == "exec") && positionals.len() > OF_EXEC;
        if own || std::mem::take(&mut value) {
            normalised.push(arg);
            continue;
        }
        let Some(flag) = arg.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            positionals.push(arg.clone());
            normalised.push(arg);
            continue;
        };
        let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
        let named = WITH_VALUE.contains(&name);
        value = (named || matches!(name, "s" | "n" | "c")) && !flag.contains('=');
        let long = !flag.starts_with('-') && (named || SWITCHES.contains(&name));
        normalised.push(if long { format!("-{arg}") } else { arg });
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
    fn a_flags_value_is_no_part_of_the_command() {
        let line = "longshore -data-dir exec exec -task t -tty web ls -json";
        let Cli { options, command: Command::Exec { command, task, tty, .. } } = parse(line) else {
            panic!("no exec");
        };
        assert_eq!((task.as_deref(), tty, options.json), (Some("t"), true, false));
        assert_eq!(command, ["ls", "-json"]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
