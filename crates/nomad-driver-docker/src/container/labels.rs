//! The container's labels: the job's, then Nomad's.
//!
//! A container also inherits its image's labels, unless the create request sets them. So the driver always sets every label
//! that it reads, even if empty: no image can claim a container's owner.

use std::collections::BTreeMap;

use nomad_plugin::driver::TaskConfig;

use crate::glob;
use crate::{
    config::{PluginConfig, TaskOptions},
    labels::{ALLOC_ID, NODE_ID, NOMAD},
};

/// The labels that `extra_labels` may select.
pub(super) const EXTRA: [&str; 8] =
    ["job_name", "job_id", "parent_job_id", "task_group_name", "task_name", "namespace", "node_name", "node_id"];

/// A notice about labels that the job requested but does not get: Nomad's labels identify a container's owner, and only the
/// driver knows it.
pub fn dropped_labels(options: &TaskOptions) -> Option<String> {
    let names: Vec<String> = options.labels.keys().filter(|name| is_nomads(name)).map(|name| cut(name)).collect();
    let rest = names.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let first = names.iter().take(NAMED).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| format!("labels ignored: {first}{more}: names that begin with {NOMAD} are Nomad's own"))
}

/// Zero-width characters, ignored like control characters and blanks.
const IGNORED: [char; 5] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];

/// How many names a notice lists, and how much of each.
const NAMED: usize = 5;
const LONGEST: usize = 64;

fn cut(name: &str) -> String {
    name.chars().take(LONGEST).collect()
}

/// Whether a label's name is Nomad's, or could be mistaken for it by a lenient reader: in capitals, among blanks.
fn is_nomads(name: &str) -> bool {
    let visible =
        name.chars().filter(|letter| !(letter.is_whitespace() || letter.is_control() || IGNORED.contains(letter)));
    let lower: String = visible.take(NOMAD.len()).flat_map(char::to_lowercase).collect();
    lower.starts_with(NOMAD)
}

/// The labels. The job's own are those that are not Nomad's. The node's label is always set: it distinguishes a container
/// from those of another agent on the same engine.
pub(super) fn labels(task: &TaskConfig, options: &TaskOptions, plugin: &PluginConfig) -> BTreeMap<String, String> {
    let own = options.labels.iter().filter(|(name, _)| !is_nomads(name));
    let mut labels: BTreeMap<String, String> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.insert(ALLOC_ID.to_owned(), task.alloc_id.to_string());
    labels.insert(NODE_ID.to_owned(), task.node_id.clone());
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
            labels.insert(format!("{NOMAD}{name}"), value.to_owned());
        }
    }
    labels
}

/// The job that this one is a run of; empty if there is none. Agents leave the field empty and pass the parent in the
/// environment. A job may set that variable, too, so it must be a prefix of the job's id: run ids are `PARENT/dispatch-...` and
/// `PARENT/periodic-...`.
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
    fn labels_of_nomads_are_the_drivers_in_whatever_spelling_a_job_sets_them() {
        let task = TaskConfig { alloc_id: "a1".into(), ..TaskConfig::default() };
        let label = |name: &str| (name.to_owned(), "planted".to_owned());
        let nomads = [
            "com.hashicorp.nomad.alloc_id",
            "com.hashicorp.nomad.node_id",
            "com.hashicorp.nomad.pause",
            "com.hashicorp.nomad.",
            "COM.HashiCorp.Nomad.job_id",
            " com.hashicorp.nomad.namespace",
            "com.hashicorp.\u{200b}nomad.x",
            "com.hashicorp.nomad\n.task_name",
        ];
        let honest = ["team", "com.hashicorp.nomadic", "com.hashicorp.consul", "nomad", "", "x.com.hashicorp.nomad.y"];
        let options = TaskOptions {
            labels: nomads.iter().chain(&honest).map(|name| label(name)).collect(),
            ..TaskOptions::default()
        };

        let labels = labels(&task, &options, &PluginConfig::default());

        let (ours, theirs): (Vec<_>, Vec<_>) = labels.iter().partition(|(name, _)| name.starts_with(NOMAD));
        assert_eq!(ours, [(&ALLOC_ID.to_owned(), &"a1".to_owned()), (&NODE_ID.to_owned(), &String::new())]);
        assert_eq!(theirs.len(), honest.len());
        let notice = dropped_labels(&options).unwrap();
        assert!(notice.starts_with("labels ignored: ") && notice.contains(" and 3 more: "), "{notice}");
        let none = TaskOptions { labels: [label("team")].into(), ..TaskOptions::default() };
        assert_eq!(dropped_labels(&none), None);
    }

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
