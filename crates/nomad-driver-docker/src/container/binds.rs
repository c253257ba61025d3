//! What of the host, and which volumes, the container sees.

use std::path::{Component, Path, PathBuf};

use nomad_plugin::driver::TaskConfig;

use super::{
    ContainerError, Request, log_guard,
    paths::{HostPath, Origin},
    refusals::Refusals,
};
use crate::{
    config::{MountKind, MountOptions, Propagation, TaskOptions},
    engine::model::{
        Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType, MountVolumeOptions,
        MountVolumeOptionsDriverConfig,
    },
};

/// The task's own directory.
pub fn task_dir(task: &TaskConfig) -> PathBuf {
    Path::new(&task.alloc_dir).join(&task.name)
}

/// A path without `.`, `..` and doubled slashes, as far as its text alone tells.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match cleaned.components().next_back() {
                Some(Component::Normal(_)) => {
                    cleaned.pop();
                }
                Some(Component::RootDir) => {}
                _ => cleaned.push(".."),
            },
            other => cleaned.push(other),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}

/// Where a source on the host is: relative ones are in the task's directory.
pub(super) fn on_host(task: &TaskConfig, source: &str) -> PathBuf {
    clean(&task_dir(task).join(source))
}

/// The directories that every task of an allocation is given.
pub(super) fn own_directories(task: &TaskConfig) -> [PathBuf; 4] {
    let (alloc, own) = (Path::new(&task.alloc_dir).join("alloc"), task_dir(task));
    [alloc.clone(), own.join("local"), own.join("secrets"), alloc.join("logs")]
}

/// The paths of the host that a task mounts, which must be inside of its allocation where volumes are not enabled.
pub(super) fn host_paths(task: &TaskConfig, options: &TaskOptions) -> Vec<HostPath> {
    let mut paths = Vec::new();
    let refusal = |what: &str| format!("volumes are not enabled; cannot mount host path: {what:?}");
    for volume in options.volumes.iter().filter(|_| options.volume_driver.is_none()) {
        let path = on_host(task, &volume.source);
        paths.push(HostPath { path, origin: Origin::Volume, refusal: refusal(&volume.text) });
    }
    for mount in &options.mounts {
        if let MountKind::Bind(_) = mount.kind {
            let path = on_host(task, &mount.source);
            paths.push(HostPath { path, origin: Origin::Mount, refusal: refusal(&mount.source) });
        }
    }
    paths
}

/// The binds: the allocation's directories, then the task's volumes.
pub(super) fn binds(request: &Request<'_>) -> Result<Vec<String>, ContainerError> {
    let Request { task, options, plugin, files, .. } = request;
    let selinux = plugin.volumes.selinux_label.as_str();
    let bind = |source: &Path, target: &str, mode: Option<&str>| {
        let flags: Vec<&str> = mode.into_iter().chain([selinux]).filter(|flag| !flag.is_empty()).collect();
        let flags = if flags.is_empty() { String::new() } else { format!(":{}", flags.join(",")) };
        format!("{}:{target}{flags}", source.display())
    };
    let target = |name: &str| task.env.get(name).cloned().unwrap_or_default();
    let [alloc, local, secrets, logs] = own_directories(task);
    let alloc_target = target("NOMAD_ALLOC_DIR");
    let mut binds = vec![
        bind(&alloc, &alloc_target, None),
        bind(&local, &target("NOMAD_TASK_DIR"), None),
        bind(&secrets, &target("NOMAD_SECRETS_DIR"), None),
        bind(&logs, &format!("{alloc_target}/logs"), Some("ro")),
    ];
    if let Some(driver) = options.volume_driver.as_ref().filter(|_| !plugin.volumes.enabled) {
        return Err(ContainerError(format!("volumes are not enabled; cannot use volume driver {driver:?}")));
    }
    for volume in &options.volumes {
        let source = match options.volume_driver {
            None => files.paths.resolved(&on_host(task, &volume.source)).to_owned(),
            Some(_) => clean(Path::new(&volume.source)),
        };
        let mode = if log_guard::holds(request, &source) {
            Some(log_guard::read_only(volume.mode.as_deref()))
        } else {
            volume.mode.clone()
        };
        binds.push(bind(&source, &volume.target, mode.as_deref()));
    }
    Ok(binds)
}

/// The mounts: the task's, the files that are made for it, Nomad's.
pub(super) fn mounts(request: &Request<'_>, refusals: &mut Refusals) -> Vec<Mount> {
    let Request { task, options, plugin, files, .. } = request;
    let mut mounts = Vec::new();
    for mount in &options.mounts {
        if let (MountKind::Volume(_), false) = (&mount.kind, plugin.volumes.enabled) {
            refusals.add(format!("volumes are not enabled; cannot mount volume: {:?}", mount.source));
        }
        mounts.push(configured(request, mount));
    }
    let made = |path: &Path, target: &Path, read_only: bool| Mount {
        typ: Some(MountType::BIND),
        source: Some(path.display().to_string()),
        target: Some(target.display().to_string()),
        read_only: Some(read_only),
        bind_options: Some(propagated(MountBindOptionsPropagationEnum::PRIVATE)),
        ..Mount::default()
    };
    let covers = refusals.or_nothing(log_guard::covers(request));
    mounts.extend(covers.iter().map(|cover| made(&cover.source, &cover.target, cover.read_only)));
    mounts.extend(files.hosts.iter().map(|path| made(path, Path::new("/etc/hosts"), false)));
    mounts.extend(files.resolv_conf.iter().map(|path| made(path, Path::new("/etc/resolv.conf"), true)));
    for mount in &task.mounts {
        let propagation = match mount.propagation_mode.as_str() {
            "" | "private" => MountBindOptionsPropagationEnum::RPRIVATE,
            "host-to-task" => MountBindOptionsPropagationEnum::RSLAVE,
            "bidirectional" => MountBindOptionsPropagationEnum::RSHARED,
            other => {
                refusals.add(format!("unknown mount propagation mode {other:?}"));
                continue;
            }
        };
        mounts.push(Mount {
            typ: Some(MountType::BIND),
            source: Some(mount.host_path.clone()),
            target: Some(mount.task_path.clone()),
            read_only: Some(mount.readonly),
            bind_options: Some(propagated(propagation)),
            ..Mount::default()
        });
    }
    mounts
}

fn propagated(propagation: MountBindOptionsPropagationEnum) -> MountBindOptions {
    MountBindOptions { propagation: Some(propagation), ..MountBindOptions::default() }
}

fn configured(request: &Request<'_>, mount: &MountOptions) -> Mount {
    let Request { task, files, .. } = request;
    let common = Mount {
        target: Some(mount.target.clone()),
        source: Some(mount.source.clone()),
        read_only: Some(mount.readonly),
        ..Mount::default()
    };
    match &mount.kind {
        MountKind::Bind(bind) => {
            let source = files.paths.resolved(&on_host(task, &mount.source)).to_owned();
            Mount {
                typ: Some(MountType::BIND),
                source: Some(source.display().to_string()),
                read_only: Some(mount.readonly || log_guard::holds(request, &source)),
                bind_options: Some(
                    bind.propagation.map_or_else(MountBindOptions::default, |mode| propagated(engines(mode))),
                ),
                ..common
            }
        }
        MountKind::Volume(volume) => Mount {
            typ: Some(MountType::VOLUME),
            volume_options: Some(MountVolumeOptions {
                no_copy: Some(volume.no_copy),
                labels: Some(volume.labels.clone().into_iter().collect()),
                driver_config: Some(MountVolumeOptionsDriverConfig {
                    name: volume.driver.clone(),
                    options: Some(volume.driver_options.clone().into_iter().collect()),
                }),
                ..MountVolumeOptions::default()
            }),
            ..common
        },
        MountKind::Tmpfs(tmpfs) => Mount {
            typ: Some(MountType::TMPFS),
            source: None,
            tmpfs_options: Some(MountTmpfsOptions {
                size_bytes: tmpfs.size,
                mode: tmpfs.mode,
                ..MountTmpfsOptions::default()
            }),
            ..common
        },
    }
}

fn engines(propagation: Propagation) -> MountBindOptionsPropagationEnum {
    match propagation {
        Propagation::Private => MountBindOptionsPropagationEnum::PRIVATE,
        Propagation::RPrivate => MountBindOptionsPropagationEnum::RPRIVATE,
        Propagation::Shared => MountBindOptionsPropagationEnum::SHARED,
        Propagation::RShared => MountBindOptionsPropagationEnum::RSHARED,
        Propagation::Slave => MountBindOptionsPropagationEnum::SLAVE,
        Propagation::RSlave => MountBindOptionsPropagationEnum::RSLAVE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (path, cleaned) in
            [("/a/../b", "/b"), ("/..", "/"), ("a/./b//c", "a/b/c"), ("../a", "../a"), ("a/..", "."), ("vol", "vol")]
        {
            assert_eq!(clean(Path::new(path)), Path::new(cleaned), "{path}");
        }
    }
}
