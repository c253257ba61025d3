//! What a driver says of itself and of its node.

use std::collections::BTreeMap;

use super::NetworkMode;

/// What the driver can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of its own on the wire")]
pub struct Capabilities {
    /// Whether tasks can be signalled.
    pub send_signals: bool,
    /// Whether commands can be run inside tasks.
    pub exec: bool,
    /// How tasks see the file system.
    pub fs_isolation: FsIsolation,
    /// The network modes that groups may ask for.
    pub network_isolation_modes: Vec<NetworkMode>,
    /// Whether the driver makes the group's network.
    pub must_create_network: bool,
    /// Whether Nomad may ask for mounts.
    pub mount_configs: MountConfigs,
    /// Whether the host need not collect logs.
    pub disable_log_collection: bool,
    /// Whether tasks may run as a user that Nomad makes up.
    pub dynamic_workload_users: bool,
}

/// How tasks see the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsIsolation {
    /// The host's.
    None,
    /// A chroot that the host builds.
    Chroot,
    /// The image's.
    Image,
    /// The host's, unveiled in part.
    Unveil,
}

/// Whether Nomad may ask for mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountConfigs {
    /// It may.
    Any,
    /// It may not.
    None,
}

/// The node as the driver finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fingerprint {
    /// Node attributes, full names (`driver.<name>...`).
    pub attributes: BTreeMap<String, Attribute>,
    /// Whether tasks can be placed.
    pub health: Health,
    /// Why, for the operator.
    pub description: String,
}

/// Whether tasks can be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The driver's engine was never seen.
    Undetected,
    /// It was seen, and does not answer now.
    Unhealthy,
    /// It answers.
    Healthy,
}

/// A node attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A number with an optional unit (`""` is none).
    Float(f64, String),
    /// A whole number with an optional unit (`""` is none).
    Int(i64, String),
    /// A text.
    String(String),
    /// A truth value.
    Bool(bool),
}
