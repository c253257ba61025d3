//! Cgroups v1.

use std::{fs, io, path::Path, time::Duration};

use super::{Counters, MemoryCounters, field, number};

/// `cpuacct.stat` counts in `USER_HZ`, which is 100 for user space on every Linux architecture.
const TICK: Duration = Duration::from_millis(10);

pub(super) fn read(cpuacct: &Path, cpu: &Path, memory: &Path) -> io::Result<Counters> {
    let modes = fs::read_to_string(cpuacct.join("cpuacct.stat"))?;
    let held_back = fs::read_to_string(cpu.join("cpu.stat"))?;
    let stat = fs::read_to_string(memory.join("memory.stat"))?;
    let ticks = |name: &str| TICK.saturating_mul(u32::try_from(field(&modes, name)).unwrap_or(u32::MAX));
    Ok(Counters {
        total: Duration::from_nanos(number(&cpuacct.join("cpuacct.usage"))?),
        user: ticks("user"),
        system: ticks("system"),
        throttled_periods: field(&held_back, "nr_throttled"),
        throttled: Duration::from_nanos(field(&held_back, "throttled_time")),
        memory: MemoryCounters {
            anonymous: field(&stat, "total_rss"),
            cache: field(&stat, "total_cache"),
            // Only counted if the kernel accounts for swap.
            swap: stat.contains("total_swap ").then(|| field(&stat, "total_swap")),
            working_set: number(&memory.join("memory.usage_in_bytes"))?
                .saturating_sub(field(&stat, "total_inactive_file")),
            peak: number(&memory.join("memory.max_usage_in_bytes")).ok(),
        },
    })
}
