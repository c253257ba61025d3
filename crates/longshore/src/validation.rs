//! Whether a job can run here: its configuration against the driver's schema, its constraints against the machine.

use std::path::Path;

use nomad_jobspec::{
    Diagnostics,
    decode::decode,
    job::{Constraint, Job},
};
use nomad_plugin::hclspec::Spec;

use crate::{Failure, alloc::environment::never_resolved, constraint, node::Node, template};

/// Every task's configuration against the driver's schema, what it refers to, and its templates' paths: all that is wrong,
/// before anything runs. `directory` is the job file's.
pub(crate) fn validate(
    job: &Job,
    source: &nomad_jobspec::Source,
    directory: &Path,
    schema: &Spec,
    node: &Node,
) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for (group, task) in job.groups.iter().flat_map(|group| group.tasks.iter().map(move |task| (group, task))) {
        problems.extend(task.templates.iter().flat_map(|each| template::misplaced(each, &task.name, directory)));
        if task.driver != "docker" {
            let message = format!("task {:?} needs the driver {:?}; only docker is available", task.name, task.driver);
            problems.push(nomad_jobspec::Problem::new(message));
            continue;
        }
        problems.extend(never_resolved(job, group, task, node));
        // References are resolved when the task starts; here each stands for a number, which is also a text.
        problems.extend(decode(&task.config, schema, &|_| Some("1".to_owned())).err().unwrap_or_default());
    }
    let malformed = constraints(job).filter_map(constraint::malformed);
    problems.extend(malformed.map(nomad_jobspec::Problem::new));
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::Usage(Diagnostics::new(source, problems).to_string()))
}

/// The constraints of a job, its groups and their tasks.
fn constraints(job: &Job) -> impl Iterator<Item = &Constraint> {
    let groups = job.groups.iter();
    let of_groups =
        groups.flat_map(|group| group.constraints.iter().chain(group.tasks.iter().flat_map(|task| &task.constraints)));
    job.constraints.iter().chain(of_groups)
}

/// Whether this machine meets the constraints of a job, its groups and their tasks.
pub(crate) fn meets_constraints(job: &Job, node: &Node) -> Result<(), Failure> {
    let unmet = constraints(job).filter_map(|each| constraint::unmet(each, &|name| node.get(name)));
    let unmet: Vec<String> = unmet.collect();
    if unmet.is_empty() { Ok(()) } else { Err(Failure::Usage(unmet.join("\n"))) }
}
