//! Cgroups v2.

use std::{fs, io, path::Path, time::Duration};

use super::{Counters, MemoryCounters, field, number};

pub(super) fn read(group: &Path) -> io::Result<Counters> {
    let cpu = fs::read_to_string(group.join("cpu.stat"))?;
    let memory = fs::read_to_string(group.join("memory.stat"))?;
    let micros = |name: &str| Duration::from_micros(field(&cpu, name));
    Ok(Counters {
        total: micros("usage_usec"),
        user: micros("user_usec"),
        system: micros("system_usec"),
        throttled_periods: field(&cpu, "nr_throttled"),
        throttled: micros("throttled_usec"),
        memory: MemoryCounters {
            anonymous: field(&memory, "anon"),
            cache: field(&memory, "file"),
            swap: number(&group.join("memory.swap.current")).ok(),
            working_set: number(&group.join("memory.current"))?.saturating_sub(field(&memory, "inactive_file")),
            // Linux 5.19 and later.
            peak: number(&group.join("memory.peak")).ok(),
        },
    })
}
