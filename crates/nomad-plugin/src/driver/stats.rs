//! What a task uses.

use std::time::SystemTime;

/// One sample of what a task uses. `None` is not measured here.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskUsage {
    /// When the sample was taken.
    pub at: SystemTime,
    /// Processor use.
    pub cpu: CpuUsage,
    /// Memory use.
    pub memory: MemoryUsage,
}

/// Processor use since the last sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuUsage {
    /// Percent of one core, kernel mode.
    pub system_mode: Option<f64>,
    /// Percent of one core, user mode.
    pub user_mode: Option<f64>,
    /// MHz. Hosts get the number; that it was measured is never said of it, as no driver does.
    pub total_ticks: f64,
    /// Count since the start.
    pub throttled_periods: Option<u64>,
    /// Nanoseconds since the start.
    pub throttled_time: Option<u64>,
    /// Percent of one core.
    pub percent: Option<f64>,
}

/// Memory use, in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryUsage {
    /// Anonymous memory.
    pub rss: Option<u64>,
    /// Page cache.
    pub cache: Option<u64>,
    /// The greatest use so far.
    pub max_usage: Option<u64>,
    /// The kernel's, on behalf of the task.
    pub kernel_usage: Option<u64>,
    /// The greatest use by the kernel so far.
    pub kernel_max_usage: Option<u64>,
    /// All of it.
    pub usage: Option<u64>,
    /// Swap.
    pub swap: Option<u64>,
}
