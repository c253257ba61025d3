//! The host files and settings that a create request depends on.

use std::path::PathBuf;

use super::{rejections::Rejections, sources::HostPaths};

/// The result of the preparation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// The checked paths.
    pub paths: HostPaths,
    /// The resolver configuration written for the task.
    pub resolv_conf: Option<PathBuf>,
    /// The hosts file written for the group.
    pub hosts: Option<PathBuf>,
    /// The security options, with profiles replaced by their content.
    pub security_opt: Vec<String>,
    /// The task's processors, in list form.
    pub cpuset: Option<String>,
    /// Whether swapping can be disabled with cgroups v1.
    pub can_disable_swapping: bool,
    /// The rejections so far.
    pub rejections: Rejections,
}
