//! The host paths and volumes that the container sees.

use std::path::{Path, PathBuf};

use super::{ContainerError, Request, read_only_logs, rejections::Rejections, sources::Source};
use crate::alloc_paths::{ALLOC_TARGET, LOCAL_TARGET, SECRETS_TARGET, clean, on_host, own_directories};
use crate::config::{MountKind, MountOptions, Propagation};
use engine::request::{
    HostConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig,
};

/// One of the task's own directories in the container.
struct OwnMount {
    source: PathBuf,
    target: String,
    read_only: bool,
}

/// The task's own directories. If they are staged, the logs in the allocation's directory are read-only in the stage. If not,
/// and volumes are disabled, that whole directory is read-only, and the other directories in it are mounted on top. Whatever
/// the targets resolve to in the image, no mount makes the logs writable.
fn own_mounts(request: &Request<'_>) -> Vec<OwnMount> {
    let paths = &request.files.paths;
    let own = |source: &Path, target: &str, read_only| OwnMount {
        source: paths.source(source).path.to_owned(),
        target: target.to_owned(),
        read_only,
    };
    let [alloc, local, secrets, logs] = own_directories(request.task);
    let beside_logs = paths.beside_logs();
    let mut mounts = vec![
        own(&alloc, ALLOC_TARGET, beside_logs.is_some()),
        own(&local, LOCAL_TARGET, false),
        own(&secrets, SECRETS_TARGET, false),
    ];
    for path in beside_logs.unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().display();
        mounts.push(own(path, &format!("{ALLOC_TARGET}/{name}"), false));
    }
    if !paths.are_staged() {
        mounts.push(own(&logs, &format!("{ALLOC_TARGET}/logs"), true));
    }
    mounts
}

/// Whether the task's own directories are passed as mounts rather than texts. Only binds have `SELinux` labels.
fn own_are_mounts(request: &Request<'_>) -> bool {
    request.files.paths.are_staged() && request.plugin.volumes.selinux_label.is_empty()
}

/// Sets what of the host, and which volumes, a task sees.
pub(super) fn apply(host: &mut HostConfig, request: &Request<'_>, rejections: &mut Rejections) {
    host.binds = Some(rejections.or_nothing(binds(request)));
    host.mounts = Some(mounts(request, rejections)).filter(|mounts| !mounts.is_empty());
}

/// The binds: the allocation's directories, then the task's volumes.
fn binds(request: &Request<'_>) -> Result<Vec<String>, ContainerError> {
    let Request { task, options, plugin, files, .. } = request;
    let selinux = plugin.volumes.selinux_label.as_str();
    let bind = |source: &Path, target: &str, mode: Option<&str>| {
        let flags: Vec<&str> = mode.into_iter().chain([selinux]).filter(|flag| !flag.is_empty()).collect();
        let flags = if flags.is_empty() { String::new() } else { format!(":{}", flags.join(",")) };
        format!("{}:{target}{flags}", source.display())
    };
    let mut binds = Vec::new();
    for OwnMount { source, target, read_only } in own_mounts(request).iter().filter(|_| !own_are_mounts(request)) {
        if source.as_os_str().as_encoded_bytes().contains(&b':') {
            return Err(ContainerError(format!("cannot mount {}: there is a colon in it", source.display())));
        }
        binds.push(bind(source, target, read_only.then_some("ro")));
    }
    if let Some(driver) = options.volume_driver.as_ref().filter(|_| !plugin.volumes.enabled) {
        return Err(ContainerError(format!("volumes are not enabled; cannot use volume driver {driver:?}")));
    }
    for volume in &options.volumes {
        let on_host = on_host(task, &volume.source);
        let (source, is_of_logs) = match options.volume_driver {
            None => {
                let Source { path, is_of_logs } = files.paths.source(&on_host);
                (path.to_owned(), is_of_logs && !plugin.volumes.enabled)
            }
            Some(_) => (clean(Path::new(&volume.source)), false),
        };
        let mode = volume.mode.as_deref();
        if let Some(flag) = mode.iter().flat_map(|mode| mode.split(',')).find(|flag| spreads(flag)) {
            propagates(request, &volume.text, flag)?;
        }
        let mode = if is_of_logs { Some(read_only_logs::read_only(mode)) } else { volume.mode.clone() };
        binds.push(bind(&source, &volume.target, mode.as_deref()));
    }
    Ok(binds)
}

/// Whether a flag, in any spelling, propagates the task's mounts to the host.
fn spreads(flag: &str) -> bool {
    flag.to_ascii_lowercase().contains("shared")
}

/// Whether mounts of the task may propagate to the host.
fn propagates(request: &Request<'_>, source: &str, propagation: &str) -> Result<(), ContainerError> {
    if request.plugin.volumes.enabled {
        return Ok(());
    }
    let problem = format!("{source:?}: its propagation {propagation:?} would put the task's mounts onto the host");
    Err(ContainerError(format!("volumes are not enabled; cannot mount host path: {problem}")))
}

/// The mounts: the task's, the files generated for it, and Nomad's.
fn mounts(request: &Request<'_>, rejections: &mut Rejections) -> Vec<Mount> {
    let Request { task, options, plugin, files, .. } = request;
    let made = |path: &Path, target: &str, read_only: bool| Mount {
        typ: Some(MountType::BIND),
        source: Some(path.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        bind_options: Some(propagated(MountBindOptionsPropagationEnum::PRIVATE)),
        ..Mount::default()
    };
    let own = own_mounts(request);
    let own = own.iter().filter(|_| own_are_mounts(request));
    let mut mounts: Vec<Mount> = own
        .map(|own| Mount {
            bind_options: Some(propagated(MountBindOptionsPropagationEnum::RPRIVATE)),
            ..made(&own.source, &own.target, own.read_only)
        })
        .collect();
    for mount in &options.mounts {
        match &mount.kind {
            MountKind::Volume(_) if !plugin.volumes.enabled => {
                rejections.add(format!("volumes are not enabled; cannot mount volume: {:?}", mount.source));
            }
            MountKind::Bind(bind) => {
                let propagation = bind.propagation.map(Propagation::as_str).filter(|mode| spreads(mode));
                let may = propagation.map(|mode| propagates(request, &mount.source, mode)).transpose();
                rejections.or_nothing(may.map(Option::unwrap_or_default));
            }
            _ => {}
        }
        mounts.push(configured(request, mount));
    }
    mounts.extend(files.hosts.iter().map(|path| made(files.paths.source(path).path, "/etc/hosts", false)));
    let resolv_conf = files.resolv_conf.iter();
    mounts.extend(resolv_conf.map(|path| made(files.paths.source(path).path, "/etc/resolv.conf", true)));
    for mount in &task.mounts {
        let propagation = match mount.propagation_mode.as_str() {
            "" | "private" => MountBindOptionsPropagationEnum::RPRIVATE,
            "host-to-task" => MountBindOptionsPropagationEnum::RSLAVE,
            "bidirectional" => MountBindOptionsPropagationEnum::RSHARED,
            other => {
                rejections.add(format!("unknown mount propagation mode {other:?}"));
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
    let Request { task, files, plugin, .. } = request;
    let common = Mount {
        target: Some(mount.target.clone()),
        source: Some(mount.source.clone()),
        read_only: Some(mount.readonly),
        ..Mount::default()
    };
    match &mount.kind {
        MountKind::Bind(bind) => {
            let on_host = on_host(task, &mount.source);
            let Source { path, is_of_logs } = files.paths.source(&on_host);
            Mount {
                typ: Some(MountType::BIND),
                source: Some(path.display().to_string()),
                read_only: Some(mount.readonly || is_of_logs && !plugin.volumes.enabled),
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
