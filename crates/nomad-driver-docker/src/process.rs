//! State of this process that does not depend on an engine.

use std::sync::Arc;

use crate::{events::TaskEvents, host::cpuset::Cpusets, node::Node};
use background::Cleanup;
use logs::LogCollector;

/// State of this process that does not depend on an engine. Clones share it.
#[derive(Clone, Default)]
pub struct Process {
    /// Events for tasks' owners.
    pub events: TaskEvents,
    /// Pending cleanup of dropped operations.
    pub cleanup: Cleanup,
    /// Keeps tasks on the processors of their cgroups.
    pub cpusets: Arc<Cpusets>,
    /// Collects tasks' logs.
    pub logs: LogCollector,
    /// The node that is served.
    pub node: Node,
}
