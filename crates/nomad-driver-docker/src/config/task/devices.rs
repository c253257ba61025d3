//! Devices of the host.

use super::Reader;

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The path on the host.
    pub host_path: String,
    /// The path in the container.
    pub container_path: String,
    /// Some of `r`, `w` and `m`.
    pub cgroup_permissions: String,
}

pub(super) fn devices(reader: &Reader<'_>) -> Vec<Device> {
    let device = |device: Reader<'_>| {
        let Some(host_path) = device.text("host_path") else {
            device.problem("host path must be set in configuration for devices");
            return None;
        };
        let cgroup_permissions = device.text("cgroup_permissions").unwrap_or_else(|| "rwm".to_owned());
        if !cgroup_permissions.chars().all(|permission| "rwm".contains(permission)) {
            device
                .problem_at("cgroup_permissions", format!("invalid cgroup permission string: {cgroup_permissions:?}"));
        }
        let container_path = device.text("container_path").unwrap_or_else(|| host_path.clone());
        Some(Device { host_path, container_path, cgroup_permissions })
    };
    reader.blocks("devices").into_iter().filter_map(device).collect()
}
