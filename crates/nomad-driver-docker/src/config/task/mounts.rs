//! The task's mounts, except for `volumes`.

use std::{collections::BTreeMap, path::PathBuf};

use super::Reader;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// What is mounted.
    pub kind: MountKind,
    /// The mount point.
    pub target: String,
    /// A host path or a volume's name.
    pub source: String,
    /// Whether it is read-only.
    pub readonly: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A directory or file of the host.
    Bind(BindOptions),
    /// A volume.
    Volume(VolumeOptions),
    /// A tmpfs.
    Tmpfs(TmpfsOptions),
}

/// How a host directory is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindOptions {
    /// `None` is the engine's default.
    pub propagation: Option<Propagation>,
}

/// In which direction mounts below a mount propagate; with `R`, recursively.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's words")]
pub enum Propagation {
    Private,
    RPrivate,
    Shared,
    RShared,
    Slave,
    RSlave,
}

impl Propagation {
    const ALL: [Self; 6] = [Self::Private, Self::RPrivate, Self::Shared, Self::RShared, Self::Slave, Self::RSlave];

    /// The name used by mount(8) and Docker.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Shared => "shared",
            Self::RShared => "rshared",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
        }
    }

    fn read(bind: &Reader<'_>) -> Option<Self> {
        let text = bind.text("propagation")?;
        let found = Self::ALL.into_iter().find(|propagation| propagation.as_str() == text);
        if found.is_none() {
            let known = Self::ALL.map(Self::as_str).join(", ");
            bind.problem_at("propagation", format!("invalid propagation mode {text:?}, it is one of {known}"));
        }
        found
    }
}

/// The mount targets so far, with the option that sets each.
#[derive(Default)]
pub(super) struct Targets(BTreeMap<PathBuf, String>);

impl Targets {
    /// Adds a target, if it is valid and unused: the engine rejects both.
    pub(super) fn add(&mut self, reader: &Reader<'_>, name: &str, target: &str) {
        let path = PathBuf::from(target);
        if !target.starts_with('/') || path.parent().is_none() {
            reader.problem_at(name, format!("the target must be an absolute path below /, this is {target:?}"));
        } else if let Some(earlier) = self.0.get(&path) {
            reader.problem_at(name, format!("duplicate mount point {target:?}: {earlier} has it already"));
        } else {
            self.0.insert(path, reader.path(name));
        }
    }
}

/// The `mount` blocks, then the `mounts` list.
pub(super) fn mounts(reader: &Reader<'_>, targets: &mut Targets) -> Vec<MountOptions> {
    let blocks = ["mount", "mounts"].into_iter().flat_map(|name| reader.blocks(name));
    blocks.filter_map(|block| mount(&block, targets)).collect()
}

/// How a volume is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeOptions {
    /// Whether to skip copying the image's content into it.
    pub no_copy: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Its driver's options.
    pub driver_options: BTreeMap<String, String>,
}

/// How a tmpfs is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// Bytes.
    pub size: Option<i64>,
    /// The mode of its root.
    pub mode: Option<i64>,
}

/// The options block of each mount type.
const OPTIONS: [(&str, &str); 3] = [("bind", "bind_options"), ("volume", "volume_options"), ("tmpfs", "tmpfs_options")];

fn mount(reader: &Reader<'_>, targets: &mut Targets) -> Option<MountOptions> {
    let source = reader.text("source").unwrap_or_default();
    let kind = reader.text("type").unwrap_or_else(|| "volume".to_owned());
    for (others, options) in OPTIONS.into_iter().filter(|(others, _)| *others != kind) {
        if reader.says(options) {
            reader.problem_at(options, format!("is for mounts of type {others:?}, this one is of type {kind:?}"));
        }
    }
    let kind = match kind.as_str() {
        "bind" => {
            if source.is_empty() {
                reader.problem_at("source", "must be set for a mount of type \"bind\"");
            }
            let propagation = reader.block("bind_options").and_then(|bind| Propagation::read(&bind));
            MountKind::Bind(BindOptions { propagation })
        }
        "volume" => MountKind::Volume(reader.block("volume_options").map_or_else(VolumeOptions::default, |volume| {
            let driver = volume.block("driver_config");
            VolumeOptions {
                no_copy: volume.truth("no_copy").unwrap_or_default(),
                labels: volume.text_map("labels").unwrap_or_default(),
                driver: driver.as_ref().and_then(|driver| driver.text("name")),
                driver_options: driver.and_then(|driver| driver.text_map("options")).unwrap_or_default(),
            }
        })),
        "tmpfs" => {
            if !source.is_empty() {
                reader.problem("invalid source, must be \"\" for tmpfs");
            }
            MountKind::Tmpfs(reader.block("tmpfs_options").map_or_else(TmpfsOptions::default, |tmpfs| TmpfsOptions {
                size: tmpfs.uint("size"),
                mode: tmpfs.uint("mode"),
            }))
        }
        other => {
            reader.problem(format!("invalid mount type, must be \"bind\", \"volume\", \"tmpfs\": {other:?}"));
            return None;
        }
    };
    let target = reader.text("target").unwrap_or_default();
    targets.add(reader, "target", &target);
    Some(MountOptions { kind, target, source, readonly: reader.truth("readonly").unwrap_or_default() })
}
