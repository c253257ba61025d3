//! The resolver configuration of a task whose group has one.

use std::{
    fs,
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
};

use nomad_plugin::driver::Dns;

use super::{READABLE, alloc_dir::AllocDir};
use crate::{alloc_paths::resolv_conf_path, container::ContainerError};

/// Writes it, and returns its path.
pub(super) fn write(alloc: &AllocDir, dns: &Dns) -> Result<PathBuf, ContainerError> {
    let failed = |problem: String| ContainerError(format!("failed to build mount for resolv.conf: {problem}"));
    let host = fs::read_to_string(host_resolv_conf()).unwrap_or_default();
    if let Some(server) = dns.servers.iter().find(|server| server.parse::<IpAddr>().is_err()) {
        return Err(failed(format!("invalid IP address {server:?}")));
    }
    let text = resolver_text(&host, dns);
    let path = resolv_conf_path(&alloc.task);
    // A task that sees this directory may have put anything in place of the old file.
    let written = alloc.with(|directory| directory.replace(&path, READABLE)?.write_all(text.as_bytes()));
    written.map_err(|error| failed(error.to_string()))?;
    Ok(path)
}

/// The host's configuration, or the one behind systemd's local resolver, which a container cannot reach.
fn host_resolv_conf() -> &'static Path {
    let (usual, behind) = (Path::new("/etc/resolv.conf"), Path::new("/run/systemd/resolve/resolv.conf"));
    let local_only = fs::read_to_string(usual).is_ok_and(|text| {
        let servers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
        !servers.is_empty() && servers.iter().all(|server| server.trim() == "127.0.0.53")
    });
    if local_only && behind.exists() { behind } else { usual }
}

/// The task's resolver configuration; what the group omits is taken from the host.
pub(super) fn resolver_text(host: &str, dns: &Dns) -> String {
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
