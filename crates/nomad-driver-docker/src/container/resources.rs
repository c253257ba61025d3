//! Memory, processor and process limits, and devices.

use nomad_plugin::driver::{AllocatedResources, LinuxResources};

use super::{ContainerError, Request};
use crate::alloc_paths;
use engine::request::{DeviceMapping, HostConfig, ResourcesUlimits};

const MIB: i64 = 1 << 20;

/// The kernel's maximum weight.
const MAX_SHARES: u64 = 262_144;
const MIN_SHARES: i64 = 2;

/// Sets the limits of a task.
pub(super) fn apply(host: &mut HostConfig, request: &Request<'_>) -> Result<(), ContainerError> {
    let resources = request.task.resources.as_ref();
    let missing = |what: &str| ContainerError(format!("{what} is empty"));
    let resources = resources.ok_or_else(|| missing("task.Resources"))?;
    let linux = resources.linux.as_ref().ok_or_else(|| missing("task.Resources.LinuxResources"))?;
    let allocated = resources.allocated.clone().unwrap_or_default();

    let memory = memory(&allocated, request.options.memory_hard_limit)?;
    host.memory = Some(memory.hard);
    host.memory_reservation = Some(memory.reservation);
    // The same limit with and without swap: no swap.
    host.memory_swap = Some(memory.hard);
    if request.machine.cgroup_version == 2 || request.files.can_disable_swapping {
        host.memory_swappiness = Some(0);
    }
    host.cpu_shares = Some(cpu_shares(linux.cpu_shares, request.machine.total_mhz));
    if request.options.cpu_hard_limit {
        let (period, quota) = cpu_quota(linux, request.options.cpu_cfs_period, request.machine.cpus);
        host.cpu_period = Some(period);
        host.cpu_quota = Some(quota);
    }
    host.cpuset_cpus.clone_from(&request.files.cpuset);
    host.pids_limit = Some(pids_limit(request.options.pids_limit, request.plugin.pids_limit)?);
    let adjustment = request.options.oom_score_adj.unwrap_or(request.plugin.oom_score_adj);
    host.oom_score_adj = Some(adjustment).filter(|adjustment| *adjustment != 0);
    let limits = request.options.ulimit.iter().map(|limit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    });
    host.ulimits = Some(limits.collect::<Vec<_>>()).filter(|limits| !limits.is_empty());
    host.devices = Some(devices(request)).filter(|devices| !devices.is_empty());
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Memory {
    /// Bytes; 0 is no limit.
    hard: i64,
    /// Bytes.
    reservation: i64,
}

fn memory(allocated: &AllocatedResources, hard_limit: i64) -> Result<Memory, ContainerError> {
    let AllocatedResources { memory_mb: reserve, memory_max_mb: max, .. } = *allocated;
    if max == -1 {
        return Ok(Memory { hard: 0, reservation: reserve.saturating_mul(MIB) });
    }
    let hard = hard_limit.max(max);
    if hard == 0 {
        return Ok(Memory { hard: reserve.saturating_mul(MIB), reservation: 0 });
    }
    if reserve > hard {
        return Err(ContainerError(format!("task memory requirements exceed driver hard limit of {hard_limit} MB")));
    }
    Ok(Memory { hard: hard.saturating_mul(MIB), reservation: reserve.saturating_mul(MIB) })
}

/// The weight: MHz, scaled down on machines with more MHz than the kernel has weights.
fn cpu_shares(requested: i64, total_mhz: u64) -> i64 {
    let requested = requested.max(MIN_SHARES);
    if total_mhz < MAX_SHARES {
        return requested;
    }
    let scaled = u128::try_from(requested).unwrap_or_default() * u128::from(MAX_SHARES) / u128::from(total_mhz);
    i64::try_from(scaled).unwrap_or(i64::MAX).max(MIN_SHARES)
}

/// Period and quota in microseconds.
fn cpu_quota(linux: &LinuxResources, period: i64, cpus: u32) -> (i64, i64) {
    let period = if period == 0 { linux.cpu_period } else { period };
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a period is at most a million")]
    let one = (linux.percent_ticks * period as f64) as i64;
    (period, one.saturating_mul(cpus.into()))
}

fn pids_limit(task: i64, plugin: Option<i64>) -> Result<i64, ContainerError> {
    match (task, plugin) {
        (0, plugin) => Ok(plugin.unwrap_or(-1)),
        (task, Some(plugin)) if task > plugin => {
            Err(ContainerError(format!("pids_limit cannot be greater than nomad plugin config pids_limit: {plugin}")))
        }
        (task, _) => Ok(task),
    }
}

fn devices(request: &Request<'_>) -> Vec<DeviceMapping> {
    let mapping = |host: &str, container: &str, permissions: &str| DeviceMapping {
        path_on_host: Some(host.to_owned()),
        path_in_container: Some(container.to_owned()),
        cgroup_permissions: Some(permissions.to_owned()),
    };
    let configured = request.options.devices.iter();
    let configured = configured.map(|d| {
        // The path that was checked against the operator's globs.
        let host_path = alloc_paths::clean(d.host_path.as_ref()).display().to_string();
        mapping(&host_path, &d.container_path, &d.cgroup_permissions)
    });
    let given = request.task.devices.iter().map(|d| mapping(&d.host_path, &d.task_path, &d.cgroup_permissions));
    configured.chain(given).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocated(memory_mb: i64, memory_max_mb: i64) -> AllocatedResources {
        AllocatedResources { memory_mb, memory_max_mb, ..AllocatedResources::default() }
    }

    #[test]
    fn memory_is_a_limit_or_a_reservation_below_one() {
        assert_eq!(memory(&allocated(100, 0), 0), Ok(Memory { hard: 100 * MIB, reservation: 0 }));
        assert_eq!(memory(&allocated(100, 200), 0), Ok(Memory { hard: 200 * MIB, reservation: 100 * MIB }));
        assert_eq!(memory(&allocated(100, 200), 300), Ok(Memory { hard: 300 * MIB, reservation: 100 * MIB }));
        assert_eq!(memory(&allocated(100, -1), 50), Ok(Memory { hard: 0, reservation: 100 * MIB }));
        let error = memory(&allocated(100, 0), 50).unwrap_err();
        assert_eq!(error.0, "task memory requirements exceed driver hard limit of 50 MB");
    }

    #[test]
    fn weights_are_scaled_on_huge_machines_only() {
        assert_eq!(cpu_shares(500, 8000), 500);
        assert_eq!(cpu_shares(0, 0), 2);
        assert_eq!(cpu_shares(1000, 524_288), 500);
        assert_eq!(cpu_shares(1, 1 << 40), 2);
    }

    #[test]
    fn the_quota_is_the_tasks_share_of_all_processors() {
        let linux = LinuxResources { percent_ticks: 0.25, cpu_period: 50_000, ..LinuxResources::default() };
        assert_eq!(cpu_quota(&linux, 100_000, 2), (100_000, 50_000));
        assert_eq!(cpu_quota(&linux, 0, 1), (50_000, 12_500));
    }

    #[test]
    fn the_operators_process_limit_is_the_upper_bound() {
        assert_eq!(pids_limit(0, None), Ok(-1));
        assert_eq!(pids_limit(0, Some(50)), Ok(50));
        assert_eq!(pids_limit(20, Some(50)), Ok(20));
        let error = pids_limit(60, Some(50)).unwrap_err();
        assert_eq!(error.0, "pids_limit cannot be greater than nomad plugin config pids_limit: 50");
    }
}
