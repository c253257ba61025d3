//! Ends the built-in driver's log forwarders of a task; otherwise every line would arrive twice.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use beneath::{Beneath, Links};
use go_plugin::client::{Plugin, Reattach};
use tokio::time::{sleep, timeout};

use super::state::Logger;
use background::apart;

const STOP: &str = "/hashicorp.nomad.drivers.docker.docklog.proto.DockerLogger/Stop";
/// The timeout of each response.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a killed logger is waited for.
const END: Duration = Duration::from_secs(5);
/// The time limit for the search of all processes.
const SEARCH: Duration = Duration::from_secs(5);
/// Longer command lines are cut; a logger's has two words.
const COMMAND: u64 = 4096;

/// Ends the logger that the task's state names, and any other that writes to the task's pipe: the built-in driver starts a new
/// one for a task that it recovers, and Nomad's record of the task does not change. Returns whether there was one.
pub(super) async fn end_all(named: Option<&Logger>, alloc_dir: &Path, pipe: &Path) -> bool {
    let mut found = false;
    if let Some(logger) = named
        && let Some(pid) = i32::try_from(logger.pid).ok().filter(|pid| is_logger(*pid))
    {
        found = true;
        ask(pid, logger).await;
        end(pid).await;
    }
    let (alloc_dir, pipe) = (alloc_dir.to_owned(), pipe.to_owned());
    let writers = apart(SEARCH, move || writers(&alloc_dir, &pipe)).await;
    let writers = writers.unwrap_or_else(|error| {
        tracing::debug!(%error, "failed to look for loggers of the built-in driver");
        Vec::new()
    });
    for pid in writers {
        found = true;
        end(pid).await;
    }
    found
}

/// Asks it to stop forwarding and to exit; it is killed if it does not within 2 s.
async fn ask(pid: i32, logger: &Logger) {
    let reattach = Reattach { pid, address: PathBuf::from(&logger.address), app_version: 2 };
    let Ok(Ok(plugin)) = timeout(ANSWER, Plugin::reattach(reattach)).await else { return };
    if let Ok(Err(error)) = timeout(ANSWER, plugin.call_empty(STOP)).await {
        tracing::debug!(%error, pid, "the logger of the built-in driver does not stop when asked");
    }
    plugin.kill().await;
}

/// Kills it, and waits until it has exited. A process that hangs in the kernel, for example on an unresponsive disk, exits when
/// the kernel lets it, and writes nothing more than its current write. The task does not wait for it.
async fn end(pid: i32) {
    let is_there = || {
        let is_there = is_logger(pid);
        if is_there && let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ended_meanwhile = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        is_there
    };
    if !ended_in_time(is_there).await {
        tracing::warn!(pid, "killed the logger of the built-in driver, but it has not ended; continuing");
    }
}

/// Waits for the exit; `false` if the process still exists at the deadline.
async fn ended_in_time(mut is_there: impl FnMut() -> bool) -> bool {
    let removed = async {
        while is_there() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(END, removed).await.is_ok()
}

/// Pids are reused; only a logger's command line has this word. That of a dead process is empty.
fn is_logger(pid: i32) -> bool {
    let mut command = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{pid}/cmdline")) {
        let _removed_meanwhile = file.take(COMMAND).read_to_end(&mut command);
    }
    command.split(|byte| *byte == 0).any(|argument| argument == b"docker_logger")
}

/// The loggers that have a pipe open; a link in its place does not count.
fn writers(alloc_dir: &Path, pipe: &Path) -> io::Result<Vec<i32>> {
    let pipe = Beneath::open(alloc_dir)?.find(pipe, Links::Refused)?.metadata()?;
    let has_open = |pid: &i32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut opened = descriptors.filter_map(|descriptor| fs::metadata(descriptor.path()).ok());
        opened.any(|opened| (opened.dev(), opened.ino()) == (pipe.dev(), pipe.ino()))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    Ok(numbers.filter(|pid| is_logger(*pid)).filter(has_open).collect())
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_logger_that_hangs_in_the_kernel_is_not_waited_for_without_end() {
        let began = Instant::now();
        let mut looks = 3;

        let ends = ended_in_time(|| {
            looks -= 1;
            looks > 0
        });
        let (ends, hangs) = (ends.await, ended_in_time(|| true).await);

        assert_eq!((ends, hangs), (true, false));
        assert!(began.elapsed() < END + Duration::from_secs(1));
    }
}
