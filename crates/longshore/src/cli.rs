//! The command line, in the habits of Nomad's own.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::verbosity::Verbosity;

/// Run a Nomad job file on one machine, without Nomad.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 success, 1 a task failed or an image is unavailable, 2 wrong command line or job file, \
    3 the driver or Docker does not respond.\n\
    Long flags take one dash or two: -var, --var.\n\
    LONGSHORE_LOG selects what the driver logs, by level and module, for example debug or info,hyper=warn; \
    the default is info. Without -v only its warnings and errors are printed."
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
    /// Directory of jobs, allocations and logs
    #[arg(long, global = true, env = "LONGSHORE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Driver program [default: nomad-driver-docker beside this program]
    #[arg(long, global = true, env = "LONGSHORE_PLUGIN", value_name = "PATH")]
    pub(crate) plugin: Option<PathBuf>,
    /// Nomad agent configuration file; its `plugin "docker"` block and the older client options configure the driver
    #[arg(long, global = true, env = "LONGSHORE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print the driver's info messages too; -vv: its debug messages
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Print errors only, no notes and no events
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

impl Options {
    /// How much is printed to standard error.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Info,
            (false, _) => Verbosity::Debug,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a job until it ends; Ctrl-C stops it, a second Ctrl-C kills it
    Run {
        #[command(flatten)]
        file: JobFile,
        /// Return once the job runs; its agent continues in the background
        #[arg(long)]
        detach: bool,
    },
    /// Show all jobs, or one job with its tasks
    Status {
        /// Job or allocation, by its id or a prefix of it
        target: Option<String>,
    },
    /// Print the output of a task
    Logs {
        #[command(flatten)]
        task: TaskOf,
        /// Follow the output
        #[arg(short, long)]
        follow: bool,
        /// Print standard output (the default)
        #[arg(long, conflicts_with = "stderr")]
        stdout: bool,
        /// Print standard error
        #[arg(long)]
        stderr: bool,
        #[command(flatten)]
        tail: Tail,
        /// Use any allocation of the job
        #[arg(long)]
        job: bool,
    },
    /// Run a command inside a task
    Exec {
        /// Pass standard input to the command
        #[arg(short, long)]
        interactive: bool,
        /// Allocate a terminal
        #[arg(short, long)]
        tty: bool,
        /// Task name; required if there are several tasks
        #[arg(long)]
        task: Option<String>,
        /// Use any allocation of the job
        #[arg(long)]
        job: bool,
        /// Job or allocation, by its id or a prefix of it
        target: String,
        /// Command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Send a signal to the tasks of a job
    Signal {
        /// Signal name
        #[arg(short, long, default_value = "SIGKILL")]
        signal: String,
        #[command(flatten)]
        task: TaskOf,
    },
    /// Stop a job, or one of its allocations
    Stop {
        /// Job or allocation, by its id or a prefix of it
        target: String,
        /// Also delete the job's state, logs and directories; asks for confirmation unless the full job id is given
        #[arg(long)]
        purge: bool,
        /// Skip the confirmation
        #[arg(long, requires = "purge")]
        yes: bool,
    },
    /// Show the resource usage of tasks
    Stats {
        #[command(flatten)]
        task: TaskOf,
        /// Print a line per task every second
        #[arg(short, long)]
        follow: bool,
    },
    /// Show the events of a job's tasks
    Events {
        /// Job or allocation, by its id or a prefix of it
        target: String,
        /// Follow new events
        #[arg(short, long)]
        follow: bool,
    },
    /// Check a job file against the driver's schema, without running it
    Validate {
        #[command(flatten)]
        file: JobFile,
    },
    /// List images that tasks use or that drivers pulled: who uses them, and when they are removed
    Images,
    /// Pull images before a task needs them, and pin them: drivers do not remove them
    Prefetch {
        /// Image, or job file: - for standard input, a path that starts with / or ., or a name that ends in .hcl, .nomad or .json
        #[arg(value_name = "IMAGE|FILE")]
        target: String,
        /// Set a variable
        #[arg(long = "var", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// Read variables from a file
        #[arg(long = "var-file", value_name = "FILE")]
        variable_files: Vec<PathBuf>,
        /// Set `${env.NAME}` in the job file
        #[arg(long = "env", value_name = "NAME[=VALUE]")]
        environment: Vec<String>,
        /// Unpin the images; drivers remove them as usual
        #[arg(long)]
        forget: bool,
    },
    /// List what jobs left behind and nobody owns, and why: containers, volumes, networks, images, files; or remove it
    Gc {
        /// List it without removing anything (the default)
        #[arg(long, conflicts_with = "now")]
        dry_run: bool,
        /// Remove it
        #[arg(long)]
        now: bool,
    },
    /// Show the driver's fingerprint of this machine
    Fingerprint,
}

/// A job file with its variables.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobFile {
    /// Job file; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) path: PathBuf,
    /// Set a variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
    /// Read variables from a file
    #[arg(long = "var-file", value_name = "FILE")]
    pub(crate) variable_files: Vec<PathBuf>,
    /// Set `${env.NAME}` in the job file, unless the task has a variable of that name; without a value, it is taken from this environment
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
    /// Job or allocation, by its id or a prefix of it
    pub(crate) target: String,
    /// Task name; required if there are several tasks
    #[arg(conflicts_with = "flag")]
    task: Option<String>,
    /// Same as TASK
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
    /// Print the last lines only
    #[arg(long = "tail", id = "tail")]
    from_end: bool,
    /// Number of lines from the end [default with -tail: 10]
    #[arg(short = 'n', value_name = "LINES", conflicts_with = "bytes")]
    lines: Option<u64>,
    /// Number of bytes from the end
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
    const SWITCHES: [&str; 18] = [
        "detach",
        "json",
        "verbose",
        "quiet",
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
        "dry-run",
        "now",
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
    fn the_verbosity_is_given_in_either_form_and_one_way_only() {
        for (line, expected) in [
            ("longshore status", Verbosity::Normal),
            ("longshore -v status", Verbosity::Info),
            ("longshore status -vv", Verbosity::Debug),
            ("longshore run -verbose j.hcl", Verbosity::Info),
            ("longshore run j.hcl -q", Verbosity::Quiet),
            ("longshore -quiet run j.hcl", Verbosity::Quiet),
        ] {
            assert_eq!(parse(line).options.verbosity(), expected, "{line}");
        }
        assert!(Cli::try_parse_from(["longshore", "-v", "-q", "status"]).is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
