//! This host: its kernel's cgroups and processors.

pub(crate) mod cgroup;
pub(crate) mod cpuset;
pub(crate) mod processors;
