//! This host: its kernel's control groups and processors.

pub mod cgroup;
pub mod cpuset;
pub mod processors;
