//! What a container needs of the host's files: read, checked and written before the request is made.

use std::{
    fs, io,
    net::IpAddr,
    path::{Component, Path, PathBuf},
    sync::OnceLock,
};

use nomad_plugin::driver::{Dns, NetworkMode, TaskConfig};

use super::{ContainerError, binds};
use crate::{
    config::{PluginConfig, TaskOptions},
    cpuset,
};

/// What was read and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// The resolver's configuration that was written for the task.
    pub resolv_conf: Option<PathBuf>,
    /// The hosts file that was written for the group.
    pub hosts: Option<PathBuf>,
    /// The security options, profiles read.
    pub security_opt: Vec<String>,
    /// The processors of the task, in list form.
    pub cpuset: Option<String>,
    /// Whether swapping can be turned off with control groups of version 1.
    pub swappiness_zero: bool,
}

/// Reads, checks and writes what a task needs.
pub fn prepare(task: &TaskConfig, options: &TaskOptions, plugin: &PluginConfig) -> Result<HostFiles, ContainerError> {
    if !plugin.volumes.enabled {
        for path in binds::host_paths(task, options) {
            if !is_inside(Path::new(&task.alloc_dir), &path.path) {
                return Err(ContainerError(path.refusal));
            }
        }
    }
    Ok(HostFiles {
        resolv_conf: task.dns.as_ref().map(|dns| resolv_conf(task, dns)).transpose()?,
        hosts: hosts(task, options)?,
        security_opt: options.security_opt.iter().map(|option| security_opt(option)).collect::<Result<_, _>>()?,
        cpuset: cpuset(task),
        swappiness_zero: swappiness_zero(),
    })
}

/// How many symbolic links a path may go through, as in the kernel.
const MAX_LINKS: usize = 40;

/// Whether a path stays inside of a directory, symbolic links followed. What does not exist is inside of what does.
fn is_inside(root: &Path, path: &Path) -> bool {
    let Ok(relative) = path.strip_prefix(binds::clean(root)) else { return false };
    if !root.is_dir() {
        return false;
    }
    let mut todo: Vec<PathBuf> = relative.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect();
    let (mut depth, mut at, mut links) = (0usize, root.to_owned(), 0);
    while let Some(part) = todo.pop() {
        match part.components().next() {
            Some(Component::ParentDir) if depth == 0 => return false,
            Some(Component::ParentDir) => {
                at.pop();
                depth -= 1;
                continue;
            }
            Some(Component::Normal(_)) => {}
            _ => continue,
        }
        let next = at.join(&part);
        let Ok(target) = fs::read_link(&next) else {
            at = next;
            depth += 1;
            continue;
        };
        links += 1;
        if target.is_absolute() || links > MAX_LINKS {
            return false;
        }
        todo.extend(target.components().rev().map(|part| PathBuf::from(part.as_os_str())));
    }
    true
}

fn resolv_conf(task: &TaskConfig, dns: &Dns) -> Result<PathBuf, ContainerError> {
    let failed = |problem: String| ContainerError(format!("failed to build mount for resolv.conf: {problem}"));
    let host = fs::read_to_string(host_resolv_conf()).unwrap_or_default();
    if let Some(server) = dns.servers.iter().find(|server| server.parse::<IpAddr>().is_err()) {
        return Err(failed(format!("invalid IP address {server:?}")));
    }
    let text = resolver_text(&host, dns);
    let path = binds::task_dir(task).join("resolv.conf");
    fs::write(&path, text).map_err(|error| failed(error.to_string()))?;
    Ok(path)
}

/// The host's configuration, or that behind systemd's local resolver, which a container cannot reach.
fn host_resolv_conf() -> &'static Path {
    let (usual, behind) = (Path::new("/etc/resolv.conf"), Path::new("/run/systemd/resolve/resolv.conf"));
    let local_only = fs::read_to_string(usual).is_ok_and(|text| {
        let servers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
        !servers.is_empty() && servers.iter().all(|server| server.trim() == "127.0.0.53")
    });
    if local_only && behind.exists() { behind } else { usual }
}

/// The task's resolver configuration: what the group does not say is the host's.
fn resolver_text(host: &str, dns: &Dns) -> String {
    if *dns == Dns::default() {
        return host.to_owned();
    }
    let inherited = |keyword: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.strip_prefix(keyword)?.strip_prefix([' ', '\t']));
        lines.flat_map(|rest| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let or_host = |given: &[String], keyword| if given.is_empty() { inherited(keyword) } else { given.to_vec() };
    let searches: Vec<String> = or_host(&dns.searches, "search").into_iter().filter(|domain| domain != ".").collect();
    let options = or_host(&dns.options, "options");
    let line = |keyword: &str, values: &[String]| format!("{keyword} {}\n", values.join(" "));
    let mut lines = Vec::new();
    if !searches.is_empty() {
        lines.push(line("search", &searches));
    }
    let servers = or_host(&dns.servers, "nameserver");
    lines.extend(servers.into_iter().map(|server| line("nameserver", &[server])));
    if !options.is_empty() {
        lines.push(line("options", &options));
    }
    lines.concat()
}

const LOCALHOST: &str = "# this file was generated by Nomad\n\
     127.0.0.1 localhost\n::1 localhost\n::1 ip6-localhost ip6-loopback\nfe00::0 ip6-localnet\n\
     ff00::0 ip6-mcastprefix\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\nff02::3 ip6-allhosts\n\n";

/// The group's hosts file, written once for all of its tasks.
fn hosts(task: &TaskConfig, options: &TaskOptions) -> Result<Option<PathBuf>, ContainerError> {
    let failed = |problem: String| ContainerError(format!("failed to build mount for /etc/hosts: {problem}"));
    let Some(network) = &task.network_isolation else { return Ok(None) };
    let own_mode = options.network_mode.is_some();
    let Some(entry) = network.hosts.as_ref().filter(|_| network.mode == NetworkMode::Group && !own_mode) else {
        return Ok(None);
    };
    if entry.address.is_empty() || entry.hostname.is_empty() {
        return Ok(None);
    }
    let mut text = format!("{LOCALHOST}{} {}\n", entry.address, entry.hostname);
    for host in &options.extra_hosts {
        let (name, address) = host.split_once(':').ok_or_else(|| failed(format!("invalid hosts entry {host:?}")))?;
        if address.parse::<IpAddr>().is_err() {
            return Err(failed(format!("invalid IP address {host:?}")));
        }
        text.extend([address, " ", name, "\n"]);
    }
    let path = Path::new(&task.alloc_dir).join("hosts");
    match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| failed(error.to_string()))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error.to_string())),
    }
    Ok(Some(path))
}

/// A security option; a seccomp profile's file is replaced by its content.
fn security_opt(option: &str) -> Result<String, ContainerError> {
    let failed = |problem: String| ContainerError(format!("failed to parse security_opt configuration: {problem}"));
    if option == "no-new-privileges" {
        return Ok(option.to_owned());
    }
    let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
        return Err(failed(format!("invalid security_opt: {option:?}")));
    };
    if key != "seccomp" || value == "unconfined" {
        return Ok(option.to_owned());
    }
    let profile = fs::read_to_string(value)
        .map_err(|error| failed(format!("opening seccomp profile ({value}) failed: {error}")))?;
    let profile: serde_json::Value = serde_json::from_str(&profile)
        .map_err(|error| failed(format!("compacting json for seccomp profile ({value}) failed: {error}")))?;
    Ok(format!("seccomp={profile}"))
}

/// The processors: those that Nomad reserved, or those that all tasks share.
fn cpuset(task: &TaskConfig) -> Option<String> {
    let Some(group) = cpuset::shared_group(task) else {
        let reserved = &task.resources.as_ref()?.linux.as_ref()?.cpuset_cpus;
        return Some(reserved.clone()).filter(|cpus| !cpus.is_empty());
    };
    match cpuset::processors(group) {
        Ok(cpus) => Some(cpus).filter(|cpus| !cpus.is_empty()),
        Err(error) => {
            tracing::warn!(group = %group.display(), %error, "failed to read the processors that tasks share");
            None
        }
    }
}

/// Whether control groups of version 1 let swapping be turned off: tried once, on Nomad's own group.
fn swappiness_zero() -> bool {
    static TRIED: OnceLock<bool> = OnceLock::new();
    *TRIED.get_or_init(|| fs::write("/sys/fs/cgroup/memory/nomad/memory.swappiness", "0").is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_may_not_lead_out_of_the_allocation() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("web/local")).unwrap();
        symlink("../..", at("web/local/up_twice")).unwrap();
        symlink("../../..", at("web/local/out")).unwrap();
        symlink("/etc", at("web/local/absolute")).unwrap();
        symlink("loop", at("web/local/loop")).unwrap();

        assert!(is_inside(root.path(), &at("web/local/not/yet/there")));
        assert!(is_inside(root.path(), &at("web/local/up_twice/web")));
        assert!(!is_inside(root.path(), &at("web/local/out/x")));
        assert!(!is_inside(root.path(), &at("web/local/absolute")));
        assert!(!is_inside(root.path(), &at("web/local/loop")));
        assert!(!is_inside(root.path(), Path::new("/etc")));
        assert!(!is_inside(&at("missing"), &at("missing/x")));
    }

    #[test]
    fn what_the_group_does_not_say_of_dns_is_the_hosts() {
        let host = "nameserver 10.0.0.1\nsearch . corp\noptions ndots:2\n";
        let dns = Dns { servers: vec!["1.1.1.1".into()], ..Dns::default() };
        assert_eq!(resolver_text(host, &dns), "search corp\nnameserver 1.1.1.1\noptions ndots:2\n");
        assert_eq!(resolver_text(host, &Dns::default()), host);
    }

    #[test]
    fn security_options_are_checked_and_profiles_read() {
        let profile = tempfile::NamedTempFile::new().unwrap();
        fs::write(profile.path(), "{ \"a\": 1 }\n").unwrap();
        let option = format!("seccomp={}", profile.path().display());

        assert_eq!(security_opt(&option), Ok("seccomp={\"a\":1}".into()));
        assert_eq!(security_opt("seccomp=unconfined"), Ok("seccomp=unconfined".into()));
        assert_eq!(security_opt("label:disable"), Ok("label:disable".into()));
        let error = security_opt("nonsense").unwrap_err();
        assert_eq!(error.0, "failed to parse security_opt configuration: invalid security_opt: \"nonsense\"");
        let error = security_opt("seccomp=/missing").unwrap_err().0;
        assert!(error.contains("opening seccomp profile (/missing) failed"), "{error}");
    }
}
