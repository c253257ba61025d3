//! A container's cgroup on this host, v1 or v2.

mod v1;
mod v2;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The kernel's counters of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Processor time.
    pub total: Duration,
    /// Time in user mode.
    pub user: Duration,
    /// Time in kernel mode.
    pub system: Duration,
    /// Periods in which the group was throttled.
    pub throttled_periods: u64,
    /// How long it was throttled.
    pub throttled: Duration,
    /// Memory.
    pub memory: MemoryCounters,
}

/// Memory of a cgroup, in bytes. `None` is not counted by this kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryCounters {
    /// Anonymous memory.
    pub anonymous: u64,
    /// Page cache.
    pub cache: u64,
    /// Swap.
    pub swap: Option<u64>,
    /// Memory without the page cache that can be dropped at once.
    pub working_set: u64,
    /// The peak use so far.
    pub peak: Option<u64>,
}

const MOUNT: &str = "/sys/fs/cgroup";

/// The paths of a container's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlGroup {
    /// Version 1: one hierarchy per controller.
    V1 {
        /// The path in the hierarchy of `cpuacct`.
        cpuacct: PathBuf,
        /// The path in the hierarchy of `cpu`.
        cpu: PathBuf,
        /// The path in the hierarchy of `memory`.
        memory: PathBuf,
    },
    /// Version 2: a single hierarchy.
    V2(PathBuf),
}

impl ControlGroup {
    /// The cgroup of a container, by its first process on this host; `None` if that has ended.
    pub(crate) fn of_container(container: &str, pid: i64) -> io::Result<Option<Self>> {
        let lines = lines(pid)?;
        Ok(lines.and_then(|lines| Self::parse(&lines, container, Path::new(MOUNT))))
    }

    /// Parses `/proc/<pid>/cgroup`; `None` if the process is not in the container's cgroups. An exiting process is in the root
    /// cgroups, and a reused pid is in another container's.
    pub(crate) fn parse(lines: &str, container: &str, mount: &Path) -> Option<Self> {
        let of = |controller: &str| path(lines, container, controller);
        if let (Some(cpuacct), Some(cpu), Some(memory)) = (of("cpuacct"), of("cpu"), of("memory")) {
            return Some(Self::V1 {
                cpuacct: mount.join("cpuacct").join(cpuacct),
                cpu: mount.join("cpu").join(cpu),
                memory: mount.join("memory").join(memory),
            });
        }
        of("").map(|path| Self::V2(mount.join(path)))
    }

    /// Reads the current counters.
    pub(crate) fn read(&self) -> io::Result<Counters> {
        match self {
            Self::V1 { cpuacct, cpu, memory } => v1::read(cpuacct, cpu, memory),
            Self::V2(group) => v2::read(group),
        }
    }
}

/// The cgroup of a container's process for a controller: in the controller's own hierarchy, or in the single one. `None` if the
/// process is not the container's, or no longer exists.
pub(crate) fn group_of(container: &str, pid: i64, controller: &str) -> io::Result<Option<PathBuf>> {
    let Some(lines) = lines(pid)? else { return Ok(None) };
    let own = path(&lines, container, controller).map(|path| Path::new(MOUNT).join(controller).join(path));
    Ok(own.or_else(|| path(&lines, container, "").map(|path| Path::new(MOUNT).join(path))))
}

/// Whether a process is in a container, by its cgroup.
pub(crate) fn is_in(container: &str, pid: i64) -> bool {
    let lines = lines(pid).ok().flatten().unwrap_or_default();
    lines.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| is_of(container, path))
}

/// The length of a full id, in hexadecimal digits.
const ID: usize = 64;

/// Whether a cgroup path is a container's: one of its components contains the full id as a word, such as `docker-ID.scope`.
/// Shorter words occur in the paths of strangers, as `docker` does.
fn is_of(container: &str, path: &str) -> bool {
    let is_id = container.len() == ID && container.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id && path.split(['/', '-', '.', ':', '_']).any(|word| word == container)
}

/// Whether a failure to read a process or its cgroups only means that it has ended.
pub(crate) fn has_ended(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_what_was_removed = [Errno::NOENT, Errno::SRCH, Errno::NODEV];
    Errno::from_io_error(error).is_some_and(|errno| of_what_was_removed.contains(&errno))
}

/// `/proc/<pid>/cgroup`; `None` if there is no such process.
fn lines(pid: i64) -> io::Result<Option<String>> {
    match fs::read_to_string(format!("/proc/{pid}/cgroup")) {
        Ok(lines) => Ok(Some(lines)),
        Err(error) if has_ended(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A controller's path in `/proc/<pid>/cgroup` (`hierarchy:controllers:path`), if it is the container's: engines of all kinds
/// put the full id into the path.
fn path<'a>(lines: &'a str, container: &str, controller: &str) -> Option<&'a str> {
    let path = lines.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/'))
    })?;
    // Seen from a cgroup namespace that does not contain the cgroup, the path leads outside: it does not exist below the mount.
    let is_outside = path.split('/').any(|name| name == "..");
    (is_of(container, path) && !is_outside).then_some(path)
}

/// Reads a file with a single number.
pub(super) fn number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("no number: {text:?}")))
}

/// The number after a name in a file of `name number` lines; 0 if the name is missing.
pub(super) fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabca";
    const DEF: &str = "defdefdefdefdefdefdefdefdefdefdefdefdefdefdefdefdefdefdefdefdefd";

    #[test]
    fn groups_are_found_with_either_version_and_driver() {
        let mount = Path::new("/cg");
        let v1 = format!(
            "12:cpu,cpuacct:/docker/{ABC}\n4:memory:/docker/{ABC}\n1:name=systemd:/docker/{ABC}\n0::/system.slice\n"
        );
        let expected = ControlGroup::V1 {
            cpuacct: format!("/cg/cpuacct/docker/{ABC}").into(),
            cpu: format!("/cg/cpu/docker/{ABC}").into(),
            memory: format!("/cg/memory/docker/{ABC}").into(),
        };
        assert_eq!(ControlGroup::parse(&v1, ABC, mount), Some(expected));
        let v2 = format!("0::/system.slice/docker-{ABC}.scope\n");
        let expected = ControlGroup::V2(format!("/cg/system.slice/docker-{ABC}.scope").into());
        assert_eq!(ControlGroup::parse(&v2, ABC, mount), Some(expected));
        assert_eq!(ControlGroup::parse(&format!("1:name=systemd:/{ABC}\n"), ABC, mount), None);
    }

    #[test]
    fn a_process_that_ends_or_is_another_is_in_no_group_of_the_container() {
        let mount = Path::new("/cg");
        let ends = "12:cpu,cpuacct:/\n4:memory:/\n1:name=systemd:/\n0::/\n";
        let another = format!("12:cpu,cpuacct:/docker/{DEF}\n4:memory:/docker/{DEF}\n0::/docker/{DEF}\n");

        assert_eq!(ControlGroup::parse(ends, ABC, mount), None);
        assert_eq!(ControlGroup::parse(&another, ABC, mount), None);
        // The test's own process is not in a container of that name; no process has the pid 0.
        assert_eq!(ControlGroup::of_container(ABC, std::process::id().into()).unwrap(), None);
        for no_process in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!(ControlGroup::of_container(ABC, no_process).unwrap(), None);
        }
        assert_eq!(group_of(ABC, std::process::id().into(), "cpuset").unwrap(), None);
    }

    #[test]
    fn what_an_engine_calls_a_containers_id_is_in_no_path_of_a_strangers() {
        let mount = Path::new("/cg");
        let another = format!("0::/docker/{DEF}\n");

        for id in
            ["", "docker", "d", "/", "/docker", &DEF[..12], &DEF[1..], &format!("docker/{DEF}"), &DEF.to_uppercase()]
        {
            assert_eq!(ControlGroup::parse(&another, id, mount), None, "{id:?}");
        }
        assert_eq!(ControlGroup::parse(&format!("0::/docker/{DEF}{ABC}\n"), DEF, mount), None);
        assert_eq!(ControlGroup::parse(&format!("0::/../{DEF}\n"), DEF, mount), None);
        assert!(ControlGroup::parse(&another, DEF, mount).is_some());
    }
}
