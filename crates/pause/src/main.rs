//! The first process of a pause container: it waits for SIGTERM or SIGINT, and reaps what is orphaned meanwhile. Given the path
//! of a network namespace, it moves there first.
//!
//! The driver's build script compiles it without shared libraries, small, and puts it into the built-in pause image.

use std::{fs::File, path::Path, process::ExitCode};

use nix::{
    sched::{CloneFlags, setns},
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};

fn main() -> ExitCode {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
    // The kernel drops signals of a namespace's first process that have neither a handler nor are blocked.
    if signals.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    if let Some(path) = std::env::args_os().nth(1)
        && move_into(path.as_ref()).is_none()
    {
        return ExitCode::FAILURE;
    }
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(),
            Ok(_) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

fn move_into(namespace: &Path) -> Option<()> {
    setns(File::open(namespace).ok()?, CloneFlags::CLONE_NEWNET).ok()
}

/// Takes leave of all children that have ended; signals of several come as one.
fn reap() {
    while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
}
