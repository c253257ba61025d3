//! What this host's kernel lets be said of a container's memory.

use std::{fs, sync::OnceLock};

/// Whether control groups of version 1 let swapping be turned off. That is tried once, by a write to Nomad's own group.
pub(super) fn can_disable_swapping() -> bool {
    static TRIED: OnceLock<bool> = OnceLock::new();
    *TRIED.get_or_init(|| fs::write("/sys/fs/cgroup/memory/nomad/memory.swappiness", "0").is_ok())
}
