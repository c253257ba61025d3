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
        task.job_name.as_str(),
        &task.job_id,
        parent_job_id(task),
        &task.task_group_name,
        &task.name,
        &task.namespace,
        &task.node_name,
        &task.node_id,
    ];
    for (name, value) in EXTRA.into_iter().zip(values) {
        let asked = plugin.extra_labels.iter().any(|pattern| glob::matches(pattern, name));
        if asked && !(name == "parent_job_id" && value.is_empty()) {
            labels.insert(format!("{PREFIX}{name}"), value.to_owned());
        }
    }
    labels
}

/// The job of which this one is a run; empty where it is none. Agents leave the field empty, and say it in the environment.
/// So may a job, of whose id it must be the beginning: ids of runs are `PARENT/dispatch-...` and `PARENT/periodic-...`.
fn parent_job_id(task: &TaskConfig) -> &str {
    if !task.parent_job_id.is_empty() {
        return &task.parent_job_id;
    }
    let said = task.env.get("NOMAD_JOB_PARENT_ID").map_or("", String::as_str);
    let is_run = task.job_id.strip_prefix(said).is_some_and(|run| run.starts_with('/'));
    if is_run { said } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_run_is_the_one_that_its_environment_names() {
        let parent = |job: &str, field: &str, said: &str| {
            let env = [("NOMAD_JOB_PARENT_ID".to_owned(), said.to_owned())].into();
            let (job_id, parent_job_id) = (job.to_owned(), field.to_owned());
            let task = TaskConfig { job_id, parent_job_id, env, ..TaskConfig::default() };
            let plugin = PluginConfig { extra_labels: vec!["parent*".to_owned()], ..PluginConfig::default() };
            labels(&task, &TaskOptions::default(), &plugin).remove("com.hashicorp.nomad.parent_job_id")
        };

        assert_eq!(parent("reports/dispatch-1795870781-1070c085", "", "reports").as_deref(), Some("reports"));
        assert_eq!(parent("a/b/periodic-1795870783", "", "a/b").as_deref(), Some("a/b"));
        assert_eq!(parent("reports/dispatch-1", "field", "reports").as_deref(), Some("field"));
        for (job, said) in [("reports", ""), ("reports", "reports"), ("reports/dispatch-1", "rep"), ("web", "reports")]
        {
            assert_eq!(parent(job, "", said), None, "{job}, {said}");
        }
    }
}
