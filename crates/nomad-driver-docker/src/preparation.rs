//! Prepares the host for a container: reads, checks and writes files before the create request is built.

mod alloc_dir;
pub mod host_paths;
mod hosts;
mod memory;
mod processors;
mod resolv_conf;
mod seccomp;
pub mod stage;

use alloc_dir::AllocDir;
use host_paths::HandoverMode;
use nomad_plugin::driver::TaskConfig;
use rustix::fs::Mode;

use crate::{
    config::{PluginConfig, TaskOptions},
    container::{allowlists, host_files::HostFiles, rejections::Rejections, sources::HostPaths},
};

/// The mode of files that every user in the container may read.
pub const READABLE: Mode = Mode::from_raw_mode(0o644);

/// Reads, checks and writes what a task needs. Rejections are reported together with those of the [create
/// request](crate::container::create_request).
pub fn prepare(
    task: &TaskConfig,
    options: &TaskOptions,
    plugin: &PluginConfig,
    mode: &mut HandoverMode<'_>,
) -> HostFiles {
    let mut rejections = Rejections::default();
    allowlists::check(options, plugin, &mut rejections);
    let alloc = AllocDir::open(task);
    let security_opt: Vec<_> =
        options.security_opt.iter().map(|option| seccomp::for_engine(option, &alloc, plugin)).collect();
    let resolv_conf = task.dns.as_ref().map(|dns| resolv_conf::write(&alloc, dns)).transpose();
    let hosts = hosts::write(&alloc, task.network_isolation.as_ref(), options);
    let security_opt = security_opt.into_iter().map(|option| rejections.or_nothing(option)).collect();
    let mut paths = HostPaths::look(task, options, plugin, mode, &mut rejections);
    let (resolv_conf, hosts) = (rejections.or_nothing(resolv_conf), rejections.or_nothing(hosts));
    for made in resolv_conf.iter().chain(&hosts) {
        rejections.or_nothing(paths.add_own(made, mode));
    }
    let (cpuset, can_disable_swapping) = (processors::of(task), memory::try_disabling_swapping());
    HostFiles { paths, resolv_conf, hosts, security_opt, cpuset, can_disable_swapping, rejections }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nomad_plugin::driver::{Dns, HostsEntry, NetworkIsolation, NetworkMode};

    use super::*;

    #[test]
    fn what_the_group_does_not_say_of_dns_is_the_hosts() {
        let host = "nameserver 10.0.0.1\nsearch . corp\noptions ndots:2\n";
        let dns = Dns { servers: vec!["1.1.1.1".into()], ..Dns::default() };
        assert_eq!(resolv_conf::resolver_text(host, &dns), "search corp\nnameserver 1.1.1.1\noptions ndots:2\n");
        assert_eq!(resolv_conf::resolver_text(host, &Dns::default()), host);
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
        let error = |extra_host: &str| {
            let options = TaskOptions { extra_hosts: vec![extra_host.to_owned()], ..TaskOptions::default() };
            hosts::write(&AllocDir::open(&task), task.network_isolation.as_ref(), &options).unwrap_err().0
        };

        assert_eq!(error("db"), "failed to build mount for /etc/hosts: invalid hosts entry \"db\"");
        assert_eq!(error("db:ten"), "failed to build mount for /etc/hosts: invalid IP address \"db:ten\"");
        let error = resolv_conf::write(&AllocDir::open(&task), task.dns.as_ref().unwrap()).unwrap_err().0;
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

        let (alloc, network) = (AllocDir::open(&task), task.network_isolation.as_ref());
        let resolv_conf =
            resolv_conf::write(&alloc, &Dns { servers: vec!["1.1.1.1".into()], ..Dns::default() }).unwrap();
        let refused = hosts::write(&alloc, network, &TaskOptions::default()).unwrap_err().0;
        fs::remove_file(alloc_dir.join("hosts")).unwrap();
        let hosts_file = hosts::write(&alloc, network, &TaskOptions::default()).unwrap().unwrap();
        let found_again = hosts::write(&alloc, network, &TaskOptions::default()).unwrap().unwrap();

        assert!(fs::read_to_string(resolv_conf).unwrap().contains("nameserver 1.1.1.1\n"));
        assert!(refused.starts_with("failed to build mount for /etc/hosts: "), "{refused}");
        assert!(fs::read_to_string(hosts_file).unwrap().ends_with("10.0.0.1 web-1\n"));
        assert_eq!(found_again, alloc_dir.join("hosts"));
        assert_eq!(fs::read_to_string(secret).unwrap(), "theirs");
    }
}
