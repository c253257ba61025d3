//! What this host's kernel supports for a container's memory.

use std::{fs, sync::OnceLock};

/// Whether cgroups v1 allow swapping to be disabled. This is tried once, by a write to Nomad's own cgroup.
pub(super) fn can_disable_swapping() -> bool {
    static TRIED: OnceLock<bool> = OnceLock::new();
    *TRIED.get_or_init(|| fs::write("/sys/fs/cgroup/memory/nomad/memory.swappiness", "0").is_ok())
}
