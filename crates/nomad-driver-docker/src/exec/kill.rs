//! Kills an abandoned command with everything that it started.
//!
//! The engine has no call for this. If it runs on this host, the processes are signalled: those of the session that the command
//! leads, and their descendants. A daemonized process, in a session of its own and without a parent, is not found and keeps
//! running. Process ids are reused, so each process is held by a descriptor and checked once more before it is signalled. Only
//! processes in the container's control group are signalled.

use std::{collections::BTreeSet, fs, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::LOOK;
use crate::host::cgroup;
use engine::{Engine, persist};

/// How often the processes are searched, because one may start another at any moment.
const ROUNDS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A process of this host that has not ended, from `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CommandProcess {
    pid: i32,
    parent: i32,
    session: i32,
    /// In ticks since boot: together with the pid it identifies one process.
    started: u64,
}

/// A command's processes.
struct Command<'a> {
    container: &'a str,
    leader: i32,
}

/// Kills a command of a container and what it started. For an engine on another host, nothing is done: only the end of its
/// streams reaches the command there.
pub(super) async fn kill(engine: &Engine, container: &str, exec: &str) {
    if !engine.is_local() {
        return tracing::debug!(container, exec, "a command on a remote engine is not killed; it ends by itself");
    }
    let Some(leader) = leader(engine, exec).await else { return };
    let command = Command { container, leader };
    for _ in 0..ROUNDS {
        let found = command.processes();
        if found.is_empty() {
            return;
        }
        // Stopped processes start nothing more, so the second search finds all children before their parents are dead.
        command.signal(found, Signal::STOP);
        command.signal(command.processes(), Signal::KILL);
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!(container, exec, "failed to kill a command whose caller has disconnected");
}

/// The pid of a command's first process, while it still refers to that.
async fn leader(engine: &Engine, exec: &str) -> Option<i32> {
    let inspected = persist(exec, LOOK, || engine.inspect_exec(exec)).await.ok()?;
    // An engine may report any number: 1 and less are no command, and -1 addresses every process.
    let leader = i32::try_from(inspected.pid?).ok().filter(|pid| *pid > 1)?;
    // The pid is not reused while the process is running, or while its session has other processes.
    (inspected.is_running || CommandProcess::read(leader).is_none()).then_some(leader)
}

impl Command<'_> {
    /// The current processes.
    fn processes(&self) -> BTreeSet<CommandProcess> {
        let of_command = of_command(&processes(), self.leader);
        of_command.into_iter().filter(|process| cgroup::is_in(self.container, process.pid.into())).collect()
    }

    fn signal(&self, processes: BTreeSet<CommandProcess>, signal: Signal) {
        for process in processes {
            let Some(pid) = Pid::from_raw(process.pid) else { continue };
            let sent = pidfd_open(pid, PidfdFlags::empty()).and_then(|held| {
                let is_it = CommandProcess::read(process.pid).is_some_and(|now| now.started == process.started);
                if is_it && cgroup::is_in(self.container, process.pid.into()) {
                    pidfd_send_signal(held, signal)?;
                }
                Ok(())
            });
            if let Err(error) = sent {
                tracing::debug!(%error, pid = process.pid, "failed to signal a process of a command");
            }
        }
    }
}

impl CommandProcess {
    /// `None` if there is no such process, or it has ended and is not reaped.
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    /// `pid (name) state parent group session ...`, and the start time as field 22. A name may contain anything.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (_name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        if matches!(fields.first(), None | Some(&"Z" | &"X" | &"x")) {
            return None;
        }
        let started = fields.get(19)?.parse().ok()?;
        Some(Self { pid: pid.trim().parse().ok()?, parent: number(1)?, session: number(3)?, started })
    }
}

fn processes() -> Vec<CommandProcess> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(CommandProcess::read).collect()
}

/// The first process, those of its session, and their descendants.
fn of_command(all: &[CommandProcess], leader: i32) -> BTreeSet<CommandProcess> {
    let mut found: BTreeSet<CommandProcess> =
        all.iter().filter(|process| process.pid == leader || process.session == leader).copied().collect();
    loop {
        let pids: BTreeSet<i32> = found.iter().map(|process| process.pid).collect();
        let before = found.len();
        found.extend(all.iter().filter(|process| pids.contains(&process.parent)));
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, session: i32) -> CommandProcess {
        CommandProcess { pid, parent, session, started: 1 }
    }

    #[test]
    fn a_commands_processes_are_its_session_and_all_descendants() {
        let (init, leader, child) = (process(10, 1, 10), process(20, 5, 20), process(21, 20, 20));
        let (own_session, its_child) = (process(22, 21, 22), process(23, 22, 22));
        let orphan = process(24, 10, 20);
        let (another, its_parent) = (process(30, 5, 30), process(5, 1, 5));
        let all = [init, its_child, own_session, leader, child, orphan, another, its_parent];

        let all_of_it = [leader, child, own_session, its_child, orphan].into();
        assert_eq!(of_command(&all, 20), all_of_it);
        let without_leader: Vec<_> = all.into_iter().filter(|process| *process != leader).collect();
        assert_eq!(of_command(&without_leader, 20), [child, own_session, its_child, orphan].into());
        assert_eq!(of_command(&all, 40), BTreeSet::new());
    }

    #[test]
    fn a_processs_line_is_read_whatever_its_name_and_a_dead_one_is_none() {
        let rest = "7 7 20 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let read = CommandProcess::parse(&format!("21 (a) S (1 2 3) S {rest}"));

        assert_eq!(read, Some(CommandProcess { pid: 21, parent: 7, session: 20, started: 4711 }));
        assert_eq!(CommandProcess::parse(&format!("21 (sh) Z {rest}")), None);
        assert_eq!(CommandProcess::parse("21 (sh) S 7"), None);
        assert_eq!(CommandProcess::read(i32::MAX), None);
    }

    #[test]
    fn processes_outside_of_the_container_are_not_found() {
        let own = i32::try_from(std::process::id()).unwrap();

        let command = Command { container: "f00d", leader: own };

        assert!(of_command(&processes(), own).iter().any(|process| process.pid == own));
        assert_eq!(command.processes(), BTreeSet::new());
    }
}
