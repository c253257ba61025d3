//! The machine's processors, as described by its agent or its kernel.

use nomad_plugin::driver::{Topology, TopologyCore};

use crate::host::processors::Processors;

/// The known facts of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// Total MHz of all cores; 0 is unknown.
    pub total_mhz: u64,
    /// Cores according to the agent; 0 is unknown.
    pub cores: u32,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Processors that this process may use.
    pub cpus: u32,
}

impl Machine {
    /// The agent's description of the processors, or else the kernel's.
    pub fn new(topology: Option<&Topology>) -> Self {
        let speed = |core: &TopologyCore| {
            [core.base_speed, core.max_speed, core.guess_speed].into_iter().find(|speed| *speed > 0).unwrap_or_default()
        };
        let total_mhz = topology.map_or(0, |topology| match topology.override_total_compute {
            0 => topology.cores.iter().map(speed).sum(),
            total => total,
        });
        let cores = topology.map_or(0, |topology| u32::try_from(topology.cores.len()).unwrap_or(u32::MAX));
        let (total_mhz, cores) = if total_mhz > 0 && cores > 0 {
            (total_mhz, cores)
        } else {
            let Processors { count, total_mhz } = Processors::read();
            (total_mhz, count)
        };
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
        Self { total_mhz, cores, cpus, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_the_agents_where_it_has_speeds_and_else_the_kernels() {
        let core = |base_speed, max_speed| TopologyCore { base_speed, max_speed, ..TopologyCore::default() };
        let by_agent = Topology { cores: vec![core(2000, 3000), core(0, 1000)], ..Topology::default() };
        let by_operator = Topology { override_total_compute: 500, ..by_agent.clone() };
        let empty = Topology::default();
        let without_speeds = Topology { cores: vec![core(0, 0)], ..Topology::default() };
        let by_kernel = Processors::read();

        let of = |topology| {
            let machine = Machine::new(topology);
            (machine.total_mhz, machine.cores)
        };

        assert_eq!(of(Some(&by_agent)), (3000, 2));
        assert_eq!(of(Some(&by_operator)), (500, 2));
        // A virtual machine's speed varies.
        assert_eq!(of(None).1, by_kernel.count);
        assert_eq!(of(Some(&empty)).1, by_kernel.count);
        assert_eq!(
            (of(Some(&without_speeds)).0 > 0, of(None).0 > 0),
            (by_kernel.total_mhz > 0, by_kernel.total_mhz > 0)
        );
    }
}
