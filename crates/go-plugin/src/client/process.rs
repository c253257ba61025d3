//! The plugin's process: started, watched, killed.

use std::{os::fd::OwnedFd, process::Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::{
    io::unix::AsyncFd,
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
};

use super::LaunchConfig;
use crate::auto_mtls::{CLIENT_CERTIFICATE, Identity};

/// Starts the program; Ctrl-C at the host's terminal does not reach it, and the host's end does not end it.
pub(super) fn spawn(config: &LaunchConfig, identity: Option<&Identity>) -> std::io::Result<Child> {
    let versions: Vec<String> = config.app_versions.iter().map(u32::to_string).collect();
    let mut command = Command::new(&config.program);
    command
        .args(&config.args)
        .envs(config.env.iter().map(|(key, value)| (key, value)))
        .env(config.handshake.cookie_key, config.handshake.cookie_value)
        .env("PLUGIN_PROTOCOL_VERSIONS", versions.join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(directory) = &config.socket_dir {
        command.env("PLUGIN_UNIX_SOCKET_DIR", directory);
    }
    match identity {
        Some(identity) => command.env(CLIENT_CERTIFICATE, identity.pem()),
        // Not ours, then, but that of the host which started this process as its plugin.
        None => command.env_remove(CLIENT_CERTIFICATE),
    };
    command.spawn()
}

/// Becomes true when the child has ended.
pub(super) fn watch_child(mut child: Child, readers: &mut JoinSet<()>) -> watch::Receiver<bool> {
    let (exited, watched) = watch::channel(false);
    #[expect(clippy::disallowed_methods, reason = "the plugin holds the set, and it ends with it")]
    readers.spawn(async move {
        let _status = child.wait().await;
        exited.send_replace(true);
    });
    watched
}

/// Becomes true when a process that is not our child has ended; `None` where there is none.
pub(super) fn watch_stranger(pid: i32, readers: &mut JoinSet<()>) -> Option<watch::Receiver<bool>> {
    let descriptor: OwnedFd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an owned descriptor keeps what that one asks the caller for"
    )]
    let descriptor = AsyncFd::new(descriptor).ok()?;
    let (exited, watched) = watch::channel(false);
    #[expect(clippy::disallowed_methods, reason = "the plugin holds the set, and it ends with it")]
    readers.spawn(async move {
        // A pid descriptor becomes readable at the process's end (pidfd_open(2)).
        let _readable = descriptor.readable().await;
        exited.send_replace(true);
    });
    Some(watched)
}

/// Ends the process at once; one that has exited is fine.
pub(super) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _has_ended_already = kill_process(pid, Signal::KILL);
    }
}
