//! Starts the driver's program, configured for a job or for none.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use image_service::{ImageClient, ImageError};
use nomad_jobspec::{body::Body, decode::decode};
use nomad_plugin::{
    client::{ClientError, DriverClient, LaunchOptions, LogLine},
    driver::SetConfig,
    hclspec::Spec,
    msgpack::{Value, encode},
};
use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

use crate::{
    Failure,
    agent_file::{self, STATE_DIR},
    cli::Options,
    data_dir::DataDir,
    prefetched, report,
    verbosity::{Verbosity, is_at_least},
};

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The driver's option that says whether a container without the label of a node can be this node's.
const UNLABELLED: [&str; 3] = ["gc", "dangling_containers", "unlabelled"];

/// Starts processes of the driver.
pub(crate) trait Launch: Send + Sync + 'static {
    /// Starts one and configures it.
    fn launch(&self) -> impl Future<Output = Result<DriverClient, Failure>> + Send;
}

/// How to start the driver's program.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    program: PathBuf,
    config: Option<PathBuf>,
    /// Where the driver keeps what must outlive its process.
    state_dir: Option<PathBuf>,
    /// Where it is known which images are kept.
    data: Option<DataDir>,
}

impl Launcher {
    /// From the command line.
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("nomad-driver-docker"));
        let program = options.plugin.clone().or_else(beside).unwrap_or_default();
        if !program.is_file() {
            let message = format!("there is no driver at {}\nhint: name one with --plugin", program.display());
            return Err(Failure::Usage(message));
        }
        Ok(Self { program, config: options.config.clone(), state_dir: None, data: None })
    }

    /// For a job's own driver: it keeps its state in the job's directory, apart from those of other jobs.
    pub(crate) fn for_job(self, data: &DataDir, job: &str) -> Self {
        Self { state_dir: Some(state_dir(data, job)), data: Some(data.clone()), ..self }
    }

    /// For a driver of no job.
    pub(crate) fn standalone(self, data: &DataDir) -> Self {
        Self { state_dir: Some(data.path().join("driver")), data: Some(data.clone()), ..self }
    }

    async fn configure(&self, driver: &DriverClient) -> Result<(), Failure> {
        let failed = |error: ClientError| Failure::Engine(error.to_string());
        let (source, mut body) = match &self.config {
            Some(path) => agent_file::load(path)?,
            None => (nomad_jobspec::Source { name: String::new(), text: String::new() }, Body::default()),
        };
        let schema = driver.config_schema().await.map_err(failed)?;
        if let (Some(directory), Spec::Object(options)) = (&self.state_dir, &schema)
            && options.contains_key(STATE_DIR)
        {
            agent_file::set_state_dir(&mut body, directory);
        }
        let mut config = decode(&body, &schema, &|_| None)
            .map_err(|problems| Failure::Usage(nomad_jobspec::Diagnostics::new(&source, problems).to_string()))?;
        // An agent on this machine may run the built-in driver, whose containers have none. No file makes them ours.
        if let Some(unlabelled) = option(&mut config, &UNLABELLED) {
            *unlabelled = Value::Bool(false);
        }
        let config = SetConfig { msgpack: encode(&config), nomad: None, api_version: "v0.1.0".into() };
        driver.set_config(config).await.map_err(|error| Failure::Usage(error.to_string()))?;
        driver.init().await.map_err(failed)?;
        // Before the first fingerprint, from which on the driver removes images.
        let Some(data) = &self.data else { return Ok(()) };
        let pinned = prefetched::read(data).map_err(|error| data.failed(&error))?;
        if pinned.is_empty() {
            return Ok(());
        }
        match ImageClient::new(driver.channel()).pin(pinned.into_iter().collect()).await {
            Ok(()) | Err(ImageError::Unserved) => Ok(()),
            Err(error) => Err(Failure::Engine(error.to_string())),
        }
    }
}

impl Launch for Launcher {
    async fn launch(&self) -> Result<DriverClient, Failure> {
        let options = LaunchOptions {
            program: self.program.clone(),
            args: Vec::new(),
            env: driver_environment(),
            socket_dir: self.data.as_ref().and_then(socket_dir),
            start_timeout: START_TIMEOUT,
            log: Arc::new(log),
        };
        let driver = DriverClient::launch(options).await.map_err(|error| Failure::Engine(error.to_string()))?;
        match self.configure(&driver).await {
            Ok(()) => Ok(driver),
            Err(failure) => {
                driver.kill().await;
                Err(failure)
            }
        }
    }
}

/// Where drivers' sockets are: no other user can put one there. `None` where the path is too long for a socket's.
fn socket_dir(data: &DataDir) -> Option<PathBuf> {
    const LONGEST: usize = 107;
    const SOCKET: &str = "/plugin4194304-XXXXXX/s";
    let directory = data.run();
    remove_stale_sockets(&directory);
    (directory.as_os_str().len() + SOCKET.len() <= LONGEST).then_some(directory)
}

/// Removes those of processes that were killed.
fn remove_stale_sockets(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let pid = |name: &str| name.strip_prefix("plugin")?.split('-').next()?.parse().ok();
        let pid = entry.file_name().to_str().and_then(pid);
        let has_ended = pid.and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH));
        if has_ended {
            // In a directory of its own, but for drivers before.
            let _not_there = std::fs::remove_file(entry.path().join("s"));
            let _removed_meanwhile = std::fs::remove_dir(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
        }
    }
}

/// An option of a decoded configuration; `None` where the driver has no such option.
fn option<'a>(config: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(config, |value, name| match value {
        Value::Map(options) => options.get_mut(*name),
        _ => None,
    })
}

/// Where a job's driver keeps what must outlive its process.
pub(crate) fn state_dir(data: &DataDir, job: &str) -> PathBuf {
    data.job(job).join("driver")
}

/// The filter of the driver's log.
const FILTER: &str = "LONGSHORE_LOG";

/// Has the driver log at the level debug where that is to be printed and no filter is set.
fn driver_environment() -> Vec<(OsString, OsString)> {
    let wants_debug = is_at_least(Verbosity::Debug) && std::env::var_os(FILTER).is_none();
    wants_debug.then(|| (FILTER.into(), "debug".into())).into_iter().collect()
}

/// Prints a line of the driver's log, where it is to be printed.
fn log(line: LogLine) {
    if let LogLine::Entry { level, message, fields } = line
        && is_printed(&level, is_at_least)
    {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = format!("driver: {message} {}", fields.join(" "));
        if level == "error" && !is_at_least(Verbosity::Normal) {
            report::error(&text);
        } else {
            report::note(&text);
        }
    }
}

/// Whether a line of a level is printed. From -v on that is all that the driver writes: `LONGSHORE_LOG` selects it.
fn is_printed(level: &str, is_at_least: impl Fn(Verbosity) -> bool) -> bool {
    match level {
        "error" => true,
        "warn" => is_at_least(Verbosity::Normal),
        _ => is_at_least(Verbosity::Info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_log_is_printed_by_level() {
        let printed = |verbosity: Verbosity| {
            ["error", "warn", "info", "debug"].map(|level| is_printed(level, |least| verbosity >= least))
        };

        assert_eq!(printed(Verbosity::Quiet), [true, false, false, false]);
        assert_eq!(printed(Verbosity::Normal), [true, true, false, false]);
        assert_eq!(printed(Verbosity::Info), [true; 4]);
        assert_eq!(printed(Verbosity::Debug), [true; 4]);
    }
}
