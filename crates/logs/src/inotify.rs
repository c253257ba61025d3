//! Reports changes to files from the kernel: inotify instances that no task can use up.
//!
//! The kernel counts instances and watches per user, and a task that runs as root is the same user as the driver. A container
//! that opens 128 instances leaves none for root's other processes. So the driver's instances belong to a user that nobody else
//! is or can guess.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    os::fd::OwnedFd,
    thread,
};

use rustix::{
    fs::inotify::{CreateFlags, init},
    process::{dumpable_behavior, set_dumpable_behavior},
    thread::set_thread_res_uid,
};

/// A new non-blocking instance.
pub(super) fn instance() -> io::Result<OwnedFd> {
    let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
    let dumpable = dumpable_behavior();
    // The thread is another user until it ends; the process's other threads are unaffected.
    let of_nobody = thread::Builder::new().name("inotify".to_owned()).spawn(move || {
        let nobody = rustix::process::Uid::from_raw(nobody());
        set_thread_res_uid(nobody, nobody, nobody)?;
        init(flags)
    })?;
    let made = of_nobody.join();
    if let Ok(dumpable) = dumpable {
        let _remains_closed = set_dumpable_behavior(dumpable);
    }
    // Only root can become another user.
    made.ok().and_then(Result::ok).map_or_else(|| Ok(init(flags)?), Ok)
}

/// A user id above those that hosts and containers assign, a different one each time.
fn nobody() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one("inotify").to_ne_bytes();
    (u32::from_ne_bytes([a, b, c, d]) | 1 << 31).min(u32::MAX - 2)
}

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        io::Read,
        process::{Command, Stdio},
    };

    use rustix::fs::inotify::{WatchFlags, add_watch};

    use super::*;

    /// Set when the test runs among users whose instances it may use up.
    const APART: &str = "LONGSHORE_TEST_APART";

    #[test]
    fn there_are_instances_where_tasks_have_used_up_all_of_roots() {
        if env::var_os(APART).is_some() {
            fs::write("/proc/sys/user/max_inotify_instances", "3").unwrap();
            let taken: Vec<_> = std::iter::from_fn(|| init(CreateFlags::CLOEXEC).ok()).collect();
            let own = [(); 3].map(|()| instance().unwrap());
            assert_eq!(taken.len(), 3);
            assert!(own.iter().all(|own| add_watch(own, "/", WatchFlags::CREATE).is_ok()));
            assert!(rustix::process::geteuid().is_root() && fs::read_dir("/proc/self/fd").is_ok());
        } else if rustix::process::geteuid().is_root() {
            let mut apart = Command::new("unshare");
            let apart = apart.args(["--user", "sh", "-c", "echo; read line"]);
            let mut apart = apart.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            apart.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            let pid = apart.id().to_string();
            for users in ["uid_map", "gid_map"] {
                fs::write(format!("/proc/{pid}/{users}"), "0 0 4294967295").unwrap();
            }
            let this = thread::current().name().unwrap().to_owned();
            let ended = Command::new("nsenter")
                .args(["--user", "--target", &pid])
                .arg(env::current_exe().unwrap())
                .args(["--exact", &this])
                .env(APART, "")
                .output()
                .unwrap();
            drop(apart.stdin.take());
            apart.wait().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        }
    }
}
