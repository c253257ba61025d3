//! The processors of a task.

use nomad_plugin::driver::TaskConfig;

use crate::host::cpuset;

/// The processors: those that Nomad reserved, or those shared by all tasks.
pub(super) fn of(task: &TaskConfig) -> Option<String> {
    let Some(group) = cpuset::shared_group(task) else {
        let reserved = &task.resources.as_ref()?.linux.as_ref()?.cpuset_cpus;
        return Some(reserved.clone()).filter(|cpus| !cpus.is_empty());
    };
    match cpuset::processors(group) {
        Ok(cpus) => Some(cpus).filter(|cpus| !cpus.is_empty()),
        Err(error) => {
            tracing::warn!(group = %group.display(), %error, "failed to read the processors that tasks share");
            None
        }
    }
}
