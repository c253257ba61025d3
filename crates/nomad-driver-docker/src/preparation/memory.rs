//! What this host's kernel supports for a container's memory.

use std::{fs, sync::OnceLock};

/// Tries to disable swapping with cgroups v1, once, by a write to Nomad's own cgroup; whether that worked.
pub(super) fn try_disabling_swapping() -> bool {
    static TRIED: OnceLock<bool> = OnceLock::new();
    *TRIED.get_or_init(|| fs::write("/sys/fs/cgroup/memory/nomad/memory.swappiness", "0").is_ok())
}
