//! What is mounted into the task, but for the `volumes` texts.

use std::collections::BTreeMap;

use super::Reader;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// What is mounted.
    pub kind: MountKind,
    /// Where.
    pub target: String,
    /// A path of the host, or a volume's name.
    pub source: String,
    /// Whether it cannot be written.
    pub readonly: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A directory or file of the host.
    Bind(BindOptions),
    /// A volume.
    Volume(VolumeOptions),
    /// Memory.
    Tmpfs(TmpfsOptions),
}

/// How a directory of the host is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindOptions {
    /// `private`, `rshared` and so on.
    pub propagation: Option<String>,
}

/// How a volume is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeOptions {
    /// Whether the image's content is not copied into it.
    pub no_copy: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Its driver's options.
    pub driver_options: BTreeMap<String, String>,
}

/// How memory is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// Bytes.
    pub size: Option<i64>,
    /// The mode of its root.
    pub mode: Option<i64>,
}

pub(super) fn mount(reader: &Reader<'_>) -> Option<MountOptions> {
    let source = reader.text("source").unwrap_or_default();
    let kind = match reader.text("type").as_deref().unwrap_or("volume") {
        "bind" => {
            let propagation = reader.block("bind_options").and_then(|bind| bind.text("propagation"));
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
    Some(MountOptions {
        kind,
        target: reader.text("target").unwrap_or_default(),
        source,
        readonly: reader.truth("readonly").unwrap_or_default(),
    })
}
