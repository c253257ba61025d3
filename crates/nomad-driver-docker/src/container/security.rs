//! A task's special privileges, and which of them the operator allows.

use std::collections::BTreeSet;

use nomad_plugin::driver::TaskConfig;

use super::{ContainerError, Request, rejections::Rejections};
use crate::config::{CgroupNamespace, PluginConfig, TaskOptions};
use crate::glob;
use engine::request::{HostConfig, HostConfigCgroupnsModeEnum};

/// Docker's default capabilities.
const DOCKER_CAPS: [&str; 14] = [
    "audit_write",
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "mknod",
    "net_bind_service",
    "net_raw",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
];

/// What `all` means when it is checked against the operator's list: every capability since Linux 5.9.
const LINUX_CAPS: [&str; 41] = [
    "audit_control",
    "audit_read",
    "audit_write",
    "block_suspend",
    "bpf",
    "checkpoint_restore",
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "ipc_lock",
    "ipc_owner",
    "kill",
    "lease",
    "linux_immutable",
    "mac_admin",
    "mac_override",
    "mknod",
    "net_admin",
    "net_bind_service",
    "net_broadcast",
    "net_raw",
    "perfmon",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_admin",
    "sys_boot",
    "sys_chroot",
    "sys_module",
    "sys_nice",
    "sys_pacct",
    "sys_ptrace",
    "sys_rawio",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "syslog",
    "wake_alarm",
];

/// Sets what a task may do, as far as the operator allows it.
pub(super) fn apply(host: &mut HostConfig, request: &Request<'_>, rejections: &mut Rejections) {
    let Request { task, options, plugin, runtimes, .. } = request;
    let namespaces = namespaces(options, plugin, rejections);
    let capabilities = rejections.or_nothing(capabilities(options, plugin));
    host.privileged = Some(rejections.or_nothing(privileged(options, plugin)));
    host.cap_add = Some(capabilities.add);
    host.cap_drop = Some(capabilities.drop);
    host.ipc_mode = namespaces.ipc;
    host.pid_mode = namespaces.pid;
    host.uts_mode = namespaces.uts;
    host.userns_mode = namespaces.userns;
    host.cgroupns_mode = cgroupns(options);
    host.runtime = rejections.or_nothing(runtime(task, options, plugin, runtimes));
}

/// Capabilities in the engine's form.
#[derive(Debug, Default, PartialEq, Eq)]
struct Capabilities {
    add: Vec<String>,
    drop: Vec<String>,
}

fn normal(caps: &[String]) -> BTreeSet<String> {
    let normal = |cap: &String| {
        let cap = cap.trim().to_lowercase();
        cap.strip_prefix("cap_").map(str::to_owned).unwrap_or(cap)
    };
    caps.iter().map(normal).filter(|cap| !cap.is_empty()).collect()
}

/// Whether a name is a capability or stands for all.
pub(super) fn is_capability(name: &str) -> bool {
    normal(&[name.to_owned()]).iter().all(|name| name == "all" || LINUX_CAPS.contains(&name.as_str()))
}

fn for_engine(caps: BTreeSet<String>) -> Vec<String> {
    if caps.contains("all") {
        return vec!["ALL".to_owned()];
    }
    caps.into_iter().map(|cap| format!("CAP_{}", cap.to_uppercase())).collect()
}

/// The capabilities to add and to drop.
fn capabilities(options: &TaskOptions, plugin: &PluginConfig) -> Result<Capabilities, ContainerError> {
    let (allowed, add) = (normal(&plugin.allow_caps), normal(&options.cap_add));
    if !allowed.contains("all") {
        let every: BTreeSet<String> = LINUX_CAPS.iter().map(|cap| (*cap).to_owned()).collect();
        let asked = if add.contains("all") { &every } else { &add };
        let refused: Vec<String> = asked.difference(&allowed).cloned().collect();
        if !refused.is_empty() {
            let refused = refused.join(", ");
            return Err(ContainerError(format!("driver does not allow the following capabilities: {refused}")));
        }
    }
    let docker: BTreeSet<String> = DOCKER_CAPS.iter().map(|cap| (*cap).to_owned()).collect();
    let mut drop = if allowed.contains("all") { BTreeSet::new() } else { &docker - &allowed };
    drop.extend(normal(&options.cap_drop));
    Ok(Capabilities { add: for_engine(add), drop: for_engine(drop) })
}

/// Whether the task is privileged.
fn privileged(options: &TaskOptions, plugin: &PluginConfig) -> Result<bool, ContainerError> {
    if options.privileged && !plugin.allow_privileged {
        return Err(ContainerError("Docker privileged mode is disabled on this Nomad agent".to_owned()));
    }
    Ok(options.privileged)
}

/// The namespaces that a task shares.
#[derive(Default)]
struct Namespaces {
    ipc: Option<String>,
    pid: Option<String>,
    uts: Option<String>,
    userns: Option<String>,
}

/// The namespaces, if the operator allows them.
fn namespaces(options: &TaskOptions, plugin: &PluginConfig, rejections: &mut Rejections) -> Namespaces {
    let mut allowed = |option: &str, mode: &Option<String>, globs: &[String]| match mode {
        Some(mode) if !plugin.allow_privileged && !globs.iter().any(|pattern| glob::matches(pattern, mode)) => {
            rejections.add(format!("cannot apply {option:?} configuration"));
            None
        }
        mode => mode.clone(),
    };
    let modes = &plugin.allowed_modes;
    Namespaces {
        ipc: allowed("ipc_mode", &options.ipc_mode, &modes.ipc),
        pid: allowed("pid_mode", &options.pid_mode, &modes.pid),
        uts: allowed("uts_mode", &options.uts_mode, &modes.uts),
        userns: allowed("userns_mode", &options.userns_mode, &modes.userns),
    }
}

/// The control group namespace.
fn cgroupns(options: &TaskOptions) -> Option<HostConfigCgroupnsModeEnum> {
    Some(match options.cgroupns? {
        CgroupNamespace::Host => HostConfigCgroupnsModeEnum::HOST,
        CgroupNamespace::Private => HostConfigCgroupnsModeEnum::PRIVATE,
    })
}

/// The runtime: the job's, or the one for GPUs.
fn runtime(
    task: &TaskConfig,
    options: &TaskOptions,
    plugin: &PluginConfig,
    known: &[String],
) -> Result<Option<String>, ContainerError> {
    let gpu = &plugin.nvidia_runtime;
    let runtime = match (&options.runtime, task.device_env.contains_key("NVIDIA_VISIBLE_DEVICES")) {
        (runtime, false) => runtime.clone(),
        (_, true) if !known.contains(gpu) => {
            return Err(ContainerError(format!("requested docker runtime {gpu:?} was not found")));
        }
        (Some(runtime), true) if runtime != gpu => {
            return Err(ContainerError(format!(
                "conflicting runtime requests: gpu runtime {gpu:?} conflicts with task runtime {runtime:?}"
            )));
        }
        (_, true) => Some(gpu.clone()),
    };
    match runtime {
        Some(runtime) if !plugin.allow_runtimes.contains(&runtime) => {
            Err(ContainerError(format!("requested runtime {runtime:?} is not allowed")))
        }
        runtime => Ok(runtime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(add: &[&str], drop: &[&str]) -> TaskOptions {
        let owned = |caps: &[&str]| caps.iter().map(|cap| (*cap).to_owned()).collect();
        TaskOptions { cap_add: owned(add), cap_drop: owned(drop), ..TaskOptions::default() }
    }

    #[test]
    fn by_default_only_net_raw_is_taken_away() {
        let caps = capabilities(&options(&[], &[]), &PluginConfig::default()).unwrap();
        assert_eq!(caps, Capabilities { add: vec![], drop: vec!["CAP_NET_RAW".into()] });
    }

    #[test]
    fn what_a_task_says_remains_even_when_it_changes_nothing() {
        let caps = capabilities(&options(&[" CAP_CHOWN"], &["all"]), &PluginConfig::default()).unwrap();
        assert_eq!(caps, Capabilities { add: vec!["CAP_CHOWN".into()], drop: vec!["ALL".into()] });
    }

    #[test]
    fn what_the_operator_does_not_allow_is_refused_by_name() {
        let error = capabilities(&options(&["net_admin", "SYS_ADMIN"], &[]), &PluginConfig::default()).unwrap_err();
        assert_eq!(error.0, "driver does not allow the following capabilities: net_admin, sys_admin");
        let all = PluginConfig { allow_caps: vec!["all".into()], ..PluginConfig::default() };
        let caps = capabilities(&options(&["net_admin"], &[]), &all).unwrap();
        assert_eq!(caps, Capabilities { add: vec!["CAP_NET_ADMIN".into()], drop: vec![] });
    }

    #[test]
    fn all_capabilities_need_leave_for_each() {
        let error = capabilities(&options(&["all"], &[]), &PluginConfig::default()).unwrap_err().0;
        assert!(
            error.starts_with("driver does not allow the following capabilities: audit_control, audit_read, block_")
        );
        let each = PluginConfig { allow_caps: LINUX_CAPS.map(str::to_owned).into(), ..PluginConfig::default() };
        let caps = capabilities(&options(&["all"], &[]), &each).unwrap();
        assert_eq!(caps, Capabilities { add: vec!["ALL".into()], drop: vec![] });
    }

    #[test]
    fn modes_need_a_glob_or_privileges() {
        let host =
            TaskOptions { pid_mode: Some("host".into()), uts_mode: Some("host".into()), ..TaskOptions::default() };
        let asked = |plugin: &PluginConfig| {
            let mut rejections = Rejections::default();
            let namespaces = namespaces(&host, plugin, &mut rejections);
            rejections.or((namespaces.pid, namespaces.uts)).map_err(|error| error.0)
        };
        let refused = |option: &str| format!("cannot apply {option:?} configuration");
        let both = Ok((Some("host".to_owned()), Some("host".to_owned())));

        let mut plugin = PluginConfig::default();
        assert_eq!(asked(&plugin), Err([refused("pid_mode"), refused("uts_mode")].join("; ")));
        plugin.allowed_modes.pid = vec!["ho*".into()];
        assert_eq!(asked(&plugin), Err(refused("uts_mode")));
        plugin.allowed_modes.uts = vec!["host".into()];
        assert_eq!(asked(&plugin), both);
        assert_eq!(asked(&PluginConfig { allow_privileged: true, ..PluginConfig::default() }), both);
    }

    #[test]
    fn a_runtime_must_be_allowed_and_a_gpu_decides_it() {
        let (task, plugin) = (TaskConfig::default(), PluginConfig::default());
        let kata = TaskOptions { runtime: Some("kata".into()), ..TaskOptions::default() };
        let error = runtime(&task, &kata, &plugin, &[]).unwrap_err();
        assert_eq!(error.0, "requested runtime \"kata\" is not allowed");
        let gpu = TaskConfig {
            device_env: [("NVIDIA_VISIBLE_DEVICES".to_owned(), "0".to_owned())].into(),
            ..TaskConfig::default()
        };
        let error = runtime(&gpu, &TaskOptions::default(), &plugin, &[]).unwrap_err();
        assert_eq!(error.0, "requested docker runtime \"nvidia\" was not found");
        let known = ["nvidia".to_owned()];
        assert_eq!(runtime(&gpu, &TaskOptions::default(), &plugin, &known), Ok(Some("nvidia".into())));
        let error = runtime(&gpu, &kata, &plugin, &known).unwrap_err();
        assert!(error.0.starts_with("conflicting runtime requests: gpu runtime \"nvidia\""));
    }
}
