//! What was read and written of the host for a container, as its request needs it.

use std::path::PathBuf;

use super::{rejections::Rejections, sources::HostPaths};

/// What was read and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// The paths that were looked at.
    pub paths: HostPaths,
    /// The resolver's configuration that was written for the task.
    pub resolv_conf: Option<PathBuf>,
    /// The hosts file that was written for the group.
    pub hosts: Option<PathBuf>,
    /// The security options, profiles read.
    pub security_opt: Vec<String>,
    /// The processors of the task, in list form.
    pub cpuset: Option<String>,
    /// Whether swapping can be turned off with control groups of version 1.
    pub can_disable_swapping: bool,
    /// What was rejected meanwhile.
    pub rejections: Rejections,
}
