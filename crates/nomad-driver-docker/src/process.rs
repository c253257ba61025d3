//! What this process has, whatever engine it works with.

use std::sync::Arc;

use crate::{events::TaskEvents, host::cpuset::Cpusets, node::Node};
use background::Cleanup;
use logs::LogCollector;

/// What this process has, whatever engine it works with. Clones share it.
#[derive(Clone, Default)]
pub struct Process {
    /// Where tasks' owners are reported to.
    pub events: TaskEvents,
    /// What is left to do for those who went away.
    pub cleanup: Cleanup,
    /// What has tasks follow the processors of their groups.
    pub cpusets: Arc<Cpusets>,
    /// What collects tasks' logs.
    pub logs: LogCollector,
    /// The node that is served.
    pub node: Node,
}
