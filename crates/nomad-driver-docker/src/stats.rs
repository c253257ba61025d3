//! A task's resource usage, read from its cgroup's files: a sample takes microseconds and no request to dockerd.

use std::{
    io,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use nomad_plugin::driver::{BoxStream, CpuUsage, DriverError, MemoryUsage, TaskUsage};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    host::cgroup::{self, ControlGroup, Counters},
    machine::Machine,
};

/// Converts counters to usage since the last sample.
#[derive(Debug)]
pub(crate) struct Sampler {
    group: ControlGroup,
    machine: Machine,
    last: (Instant, Counters),
}

impl Sampler {
    /// Starts with the current counters of a container's cgroup, given its first process on this host. `None` means that the
    /// process has ended, even if nobody has noticed yet.
    pub(crate) fn open(container: &str, pid: i64, machine: Machine) -> io::Result<Option<Self>> {
        let Some(group) = ControlGroup::of_container(container, pid)? else { return Ok(None) };
        match group.read() {
            Ok(counters) => Ok(Some(Self { group, machine, last: (now(), counters) })),
            Err(error) if cgroup::has_ended(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The usage since the last sample. Fails if the cgroup no longer exists.
    pub(crate) fn sample(&mut self) -> io::Result<TaskUsage> {
        let this = (now(), self.group.read()?);
        let usage = usage(self.last, this, self.machine);
        self.last = this;
        Ok(usage)
    }
}

fn now() -> Instant {
    Instant::now()
}

fn usage(last: (Instant, Counters), this: (Instant, Counters), machine: Machine) -> TaskUsage {
    let ((then, before), (now, after)) = (last, this);
    let wall = now.saturating_duration_since(then).as_secs_f64();
    let share = |after: Duration, before: Duration| {
        if wall > 0.0 { after.saturating_sub(before).as_secs_f64() / wall * 100.0 } else { 0.0 }
    };
    let percent = share(after.total, before.total);
    #[expect(clippy::cast_precision_loss, reason = "a machine has less than 2^52 MHz")]
    let ticks =
        if machine.cores == 0 { 0.0 } else { percent / 100.0 * machine.total_mhz as f64 / f64::from(machine.cores) };
    TaskUsage {
        at: SystemTime::now(),
        cpu: CpuUsage {
            system_mode: Some(share(after.system, before.system)),
            user_mode: Some(share(after.user, before.user)),
            total_ticks: ticks,
            throttled_periods: Some(after.throttled_periods),
            throttled_time: Some(u64::try_from(after.throttled.as_nanos()).unwrap_or(u64::MAX)),
            percent: Some(percent),
        },
        memory: MemoryUsage {
            rss: Some(after.memory.anonymous),
            cache: Some(after.memory.cache),
            max_usage: after.memory.peak,
            usage: Some(after.memory.working_set),
            swap: after.memory.swap,
            ..MemoryUsage::default()
        },
    }
}

/// One sample per interval, the first after one interval, until `ended` or until the cgroup no longer exists.
pub(crate) fn stream(
    sampler: Sampler,
    interval: Duration,
    ended: impl Future<Output = ()> + Send + 'static,
) -> BoxStream<Result<TaskUsage, DriverError>> {
    let interval = interval.max(Duration::from_millis(10));
    let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    stream::unfold((sampler, ticks), |(mut sampler, mut ticks)| async move {
        ticks.tick().await;
        let usage = sampler.sample().ok()?;
        Some((Ok(usage), (sampler, ticks)))
    })
    .take_until(Box::pin(ended))
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroup::MemoryCounters;

    #[test]
    fn use_is_a_share_of_one_core_and_of_its_speed() {
        let then = Instant::now();
        let machine = Machine { total_mhz: 6000, cores: 2, ..Machine::default() };
        let ms = Duration::from_millis;
        let before = Counters { total: ms(1000), user: ms(600), system: ms(400), ..Counters::default() };
        let memory = MemoryCounters { anonymous: 5, working_set: 7, ..MemoryCounters::default() };
        let after = Counters { total: ms(2000), user: ms(1500), system: ms(500), memory, ..before };

        let usage = usage((then, before), (then + ms(500), after), machine);

        assert_eq!(usage.cpu.percent, Some(200.0));
        assert_eq!((usage.cpu.user_mode, usage.cpu.system_mode), (Some(180.0), Some(20.0)));
        assert!((usage.cpu.total_ticks - 6000.0).abs() < 1e-9);
        assert_eq!((usage.memory.rss, usage.memory.usage, usage.memory.max_usage), (Some(5), Some(7), None));
    }

    /// Two recorded readings of a container that was limited to half a processor.
    fn recorded(folder: &str, apart: Duration) -> (TaskUsage, Counters) {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
        let group = |reading: &str| {
            let root = root.join(reading);
            if folder == "cgroup-v1" {
                let [cpuacct, cpu, memory] = ["cpuacct", "cpu", "memory"].map(|controller| root.join(controller));
                ControlGroup::V1 { cpuacct, cpu, memory }
            } else {
                ControlGroup::V2(root)
            }
        };
        let (before, after) = (group("1").read().unwrap(), group("2").read().unwrap());
        let then = Instant::now();
        (usage((then, before), (then + apart, after), Machine::default()), before)
    }

    #[test]
    fn recorded_groups_of_both_versions_show_half_a_processor_and_the_memory_in_use() {
        for (folder, apart) in [
            ("cgroup-v1", Duration::from_nanos(2_004_268_263)),
            ("cgroup-v2", Duration::from_nanos(2_007_912_949)),
            ("cgroup-v2-systemd", Duration::from_nanos(1_938_020_132)),
        ] {
            let (usage, before) = recorded(folder, apart);

            let percent = usage.cpu.percent.unwrap();
            assert!((45.0..55.0).contains(&percent), "{folder}: {percent} %");
            assert!(usage.cpu.throttled_periods > Some(0), "{folder}");
            let memory = before.memory;
            assert!((12 << 20..14 << 20).contains(&memory.anonymous), "{folder}: {memory:?}");
            assert!((20 << 20..22 << 20).contains(&memory.cache), "{folder}: {memory:?}");
            // The file in the page cache does not count as in use.
            assert!((12 << 20..16 << 20).contains(&memory.working_set), "{folder}: {memory:?}");
            assert!(memory.peak > Some(32 << 20) && memory.swap == Some(0), "{folder}: {memory:?}");
        }
    }

    #[test]
    fn without_a_topology_there_are_no_ticks() {
        let usage = usage((now(), Counters::default()), (now(), Counters::default()), Machine::default());
        assert!(usage.cpu.total_ticks.abs() < 1e-9);
    }
}
