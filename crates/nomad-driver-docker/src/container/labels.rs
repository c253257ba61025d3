//! The container's labels: the job's, then Nomad's.

use std::collections::BTreeMap;

use nomad_plugin::driver::TaskConfig;

use super::glob;
use crate::config::{PluginConfig, TaskOptions};

const PREFIX: &str = "com.hashicorp.nomad.";

/// The label that says whose node a container belongs to.
pub(crate) const NODE_ID: &str = "com.hashicorp.nomad.node_id";

/// The label by which Nomad's containers are known.
pub(crate) const ALLOC_ID: &str = "com.hashicorp.nomad.alloc_id";

/// What `extra_labels` may ask for.
pub(super) const EXTRA: [&str; 8] =
    ["job_name", "job_id", "parent_job_id", "task_group_name", "task_name", "namespace", "node_name", "node_id"];

/// The labels. Nomad's win over the job's. The node's is always there: by it a container is known from another agent's
/// on the same engine.
pub(super) fn labels(task: &TaskConfig, options: &TaskOptions, plugin: &PluginConfig) -> BTreeMap<String, String> {
    let mut labels = options.labels.clone();
    labels.insert(ALLOC_ID.to_owned(), task.alloc_id.to_string());
    if !task.node_id.is_empty() {
        labels.insert(NODE_ID.to_owned(), task.node_id.clone());
    }
    let values = [
        &task.job_name,
        &task.job_id,
        &task.parent_job_id,
        &task.task_group_name,
        &task.name,
        &task.namespace,
        &task.node_name,
        &task.node_id,
    ];
    for (name, value) in EXTRA.into_iter().zip(values) {
        let asked = plugin.extra_labels.iter().any(|pattern| glob::matches(pattern, name));
        if asked && !(name == "parent_job_id" && value.is_empty()) {
            labels.insert(format!("{PREFIX}{name}"), value.clone());
        }
    }
    labels
}
