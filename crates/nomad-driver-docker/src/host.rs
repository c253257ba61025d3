//! This host: its kernel's control groups and processors, and files that are replaced as a whole.

pub(crate) mod atomic_file;
pub mod cgroup;
pub mod cpuset;
pub mod processors;
