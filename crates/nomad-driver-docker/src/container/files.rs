//! What a container needs of the host's files: read, checked and written before the request is made.

use std::{
    fs,
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use beneath::{Beneath, Links};
use nomad_plugin::driver::{Dns, NetworkMode, TaskConfig};
use rustix::fs::Mode;

use super::{
    ContainerError, allowlists, binds,
    paths::{HostPaths, Way},
    refusals::Refusals,
    security_opt,
};
use crate::{
    config::{PluginConfig, TaskOptions},
    cpuset,
};

/// What was read and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// The paths that were looked at.
    pub paths: HostPaths,
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
    /// What was refused meanwhile.
    pub(super) refusals: Refusals,
}

/// Reads, checks and writes what a task needs. What is refused is told with the rest, by the
/// [request](super::create_request).
pub fn prepare(task: &TaskConfig, options: &TaskOptions, plugin: &PluginConfig, way: &mut Way<'_>) -> HostFiles {
    let mut refusals = Refusals::default();
    allowlists::check(options, plugin, &mut refusals);
    let security_opt = options.security_opt.iter();
    let security_opt = security_opt.map(|option| security_opt::for_engine(option, task, plugin));
    let security_opt = security_opt.map(|option| refusals.or_nothing(option)).collect();
    let mut paths = HostPaths::look(task, options, plugin, way, &mut refusals);
    let resolv_conf = task.dns.as_ref().map(|dns| resolv_conf(task, dns)).transpose();
    let resolv_conf = refusals.or_nothing(resolv_conf);
    let hosts = refusals.or_nothing(hosts(task, options));
    for made in resolv_conf.iter().chain(&hosts) {
        refusals.or_nothing(paths.add_own(made, way));
    }
    let (cpuset, swappiness_zero) = (cpuset(task), swappiness_zero());
    HostFiles { paths, resolv_conf, hosts, security_opt, cpuset, swappiness_zero, refusals }
}

/// Where the group's hosts file is.
pub(crate) fn hosts_path(task: &TaskConfig) -> PathBuf {
    Path::new(&task.alloc_dir).join("hosts")
}

/// Where the task's resolver configuration is.
pub(crate) fn resolv_conf_path(task: &TaskConfig) -> PathBuf {
    binds::task_dir(task).join("resolv.conf")
}

fn resolv_conf(task: &TaskConfig, dns: &Dns) -> Result<PathBuf, ContainerError> {
    let failed = |problem: String| ContainerError(format!("failed to build mount for resolv.conf: {problem}"));
    let host = fs::read_to_string(host_resolv_conf()).unwrap_or_default();
    if let Some(server) = dns.servers.iter().find(|server| server.parse::<IpAddr>().is_err()) {
        return Err(failed(format!("invalid IP address {server:?}")));
    }
    let text = resolver_text(&host, dns);
    let path = resolv_conf_path(task);
    // A task that sees this directory may have put anything in the old one's place.
    let written = Beneath::open(Path::new(&task.alloc_dir))
        .and_then(|beneath| beneath.replace(&path, READABLE))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| failed(error.to_string()))?;
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

/// The mode of what every user in the container reads.
pub const READABLE: Mode = Mode::from_raw_mode(0o644);

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
    let path = hosts_path(task);
    let written =
        Beneath::open(Path::new(&task.alloc_dir)).and_then(|beneath| match beneath.create_new(&path, READABLE) {
            Ok(mut file) => file.write_all(text.as_bytes()),
            // What a task may have put there in place of a file is not mounted.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => beneath.read(&path, Links::Refused).map(drop),
            Err(error) => Err(error),
        });
    written.map_err(|error| failed(error.to_string()))?;
    Ok(Some(path))
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
    use nomad_plugin::driver::{HostsEntry, NetworkIsolation};

    use super::*;

    #[test]
    fn what_the_group_does_not_say_of_dns_is_the_hosts() {
        let host = "nameserver 10.0.0.1\nsearch . corp\noptions ndots:2\n";
        let dns = Dns { servers: vec!["1.1.1.1".into()], ..Dns::default() };
        assert_eq!(resolver_text(host, &dns), "search corp\nnameserver 1.1.1.1\noptions ndots:2\n");
        assert_eq!(resolver_text(host, &Dns::default()), host);
    }

    #[test]
    fn what_is_no_address_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let entry = HostsEntry { hostname: "web-1".into(), address: "10.0.0.1".into() };
        let task = TaskConfig {
            alloc_dir: directory.path().display().to_string(),
            network_isolation: Some(NetworkIsolation {
                mode: NetworkMode::Group,
                hosts: Some(entry),
                ..NetworkIsolation::default()
            }),
            dns: Some(Dns { servers: vec!["ns1".into()], ..Dns::default() }),
            ..TaskConfig::default()
        };
        let told = |extra_host: &str| {
            let options = TaskOptions { extra_hosts: vec![extra_host.to_owned()], ..TaskOptions::default() };
            hosts(&task, &options).unwrap_err().0
        };

        assert_eq!(told("db"), "failed to build mount for /etc/hosts: invalid hosts entry \"db\"");
        assert_eq!(told("db:ten"), "failed to build mount for /etc/hosts: invalid IP address \"db:ten\"");
        let error = resolv_conf(&task, task.dns.as_ref().unwrap()).unwrap_err().0;
        assert_eq!(error, "failed to build mount for resolv.conf: invalid IP address \"ns1\"");
    }

    #[test]
    fn what_a_task_planted_where_the_driver_writes_is_neither_written_through_nor_mounted() {
        let directory = tempfile::tempdir().unwrap();
        let (alloc_dir, secret) = (directory.path().join("a1"), directory.path().join("secret"));
        fs::create_dir_all(alloc_dir.join("web")).unwrap();
        fs::write(&secret, "theirs").unwrap();
        for planted in ["web/resolv.conf", "hosts"] {
            std::os::unix::fs::symlink(&secret, alloc_dir.join(planted)).unwrap();
        }
        let entry = HostsEntry { hostname: "web-1".into(), address: "10.0.0.1".into() };
        let task = TaskConfig {
            name: "web".into(),
            alloc_dir: alloc_dir.display().to_string(),
            network_isolation: Some(NetworkIsolation {
                mode: NetworkMode::Group,
                hosts: Some(entry),
                ..NetworkIsolation::default()
            }),
            ..TaskConfig::default()
        };

        let resolv_conf = resolv_conf(&task, &Dns { servers: vec!["1.1.1.1".into()], ..Dns::default() }).unwrap();
        let refused = hosts(&task, &TaskOptions::default()).unwrap_err().0;
        fs::remove_file(alloc_dir.join("hosts")).unwrap();
        let hosts_file = hosts(&task, &TaskOptions::default()).unwrap().unwrap();
        let found_again = hosts(&task, &TaskOptions::default()).unwrap().unwrap();

        assert!(fs::read_to_string(resolv_conf).unwrap().contains("nameserver 1.1.1.1\n"));
        assert!(refused.starts_with("failed to build mount for /etc/hosts: "), "{refused}");
        assert!(fs::read_to_string(hosts_file).unwrap().ends_with("10.0.0.1 web-1\n"));
        assert_eq!(found_again, alloc_dir.join("hosts"));
        assert_eq!(fs::read_to_string(secret).unwrap(), "theirs");
    }
}
