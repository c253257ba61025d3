//! A container's control group on this host, of either version.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Counters, cgroup_v1, cgroup_v2};

const MOUNT: &str = "/sys/fs/cgroup";

/// Where a container's counters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlGroup {
    /// Version 1: a tree for each controller.
    V1 {
        /// Of the controller `cpuacct`.
        cpuacct: PathBuf,
        /// Of the controller `cpu`.
        cpu: PathBuf,
        /// Of the controller `memory`.
        memory: PathBuf,
    },
    /// Version 2: one tree.
    V2(PathBuf),
}

impl ControlGroup {
    /// The group of a process of this host.
    pub fn of_process(pid: i64) -> io::Result<Self> {
        let lines = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is in no usable control group"));
        Self::parse(&lines, Path::new(MOUNT)).ok_or_else(missing)
    }

    /// From the lines of `/proc/<pid>/cgroup`.
    pub fn parse(lines: &str, mount: &Path) -> Option<Self> {
        let of = |controller: &str| path(lines, controller);
        if let (Some(cpuacct), Some(cpu), Some(memory)) = (of("cpuacct"), of("cpu"), of("memory")) {
            return Some(Self::V1 {
                cpuacct: mount.join("cpuacct").join(cpuacct),
                cpu: mount.join("cpu").join(cpu),
                memory: mount.join("memory").join(memory),
            });
        }
        of("").map(|path| Self::V2(mount.join(path)))
    }

    /// What is counted now.
    pub fn read(&self) -> io::Result<Counters> {
        match self {
            Self::V1 { cpuacct, cpu, memory } => cgroup_v1::read(cpuacct, cpu, memory),
            Self::V2(group) => cgroup_v2::read(group),
        }
    }
}

/// The group in which a controller has a process of this host: of the controller's own tree, or of the one tree.
pub(crate) fn group_of(pid: i64, controller: &str) -> io::Result<PathBuf> {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let own = path(&lines, controller).map(|path| Path::new(MOUNT).join(controller).join(path));
    let group = own.or_else(|| path(&lines, "").map(|path| Path::new(MOUNT).join(path)));
    group.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is in no {controller} group")))
}

/// A controller's path in the lines of `/proc/<pid>/cgroup`: `hierarchy:controllers:path`.
fn path<'a>(lines: &'a str, controller: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/'))
    })
}

/// The number in a file of one.
pub(super) fn number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("no number: {text:?}")))
}

/// The number after a name in a file of `name number` lines; 0 where there is no such name.
pub(super) fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_with_either_version_and_driver() {
        let mount = Path::new("/cg");
        let v1 = "12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/system.slice\n";
        let expected = ControlGroup::V1 {
            cpuacct: "/cg/cpuacct/docker/abc".into(),
            cpu: "/cg/cpu/docker/abc".into(),
            memory: "/cg/memory/docker/abc".into(),
        };
        assert_eq!(ControlGroup::parse(v1, mount), Some(expected));
        let v2 = "0::/system.slice/docker-abc.scope\n";
        let expected = ControlGroup::V2("/cg/system.slice/docker-abc.scope".into());
        assert_eq!(ControlGroup::parse(v2, mount), Some(expected));
        assert_eq!(ControlGroup::parse("1:name=systemd:/x\n", mount), None);
    }
}
