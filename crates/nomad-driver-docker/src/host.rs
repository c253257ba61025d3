//! This host: its kernel's control groups and processors.

pub(crate) mod cgroup;
pub(crate) mod cpuset;
pub(crate) mod processors;
