//! Whether the names that a task's `config` refers to are there when it runs.

use super::{Task, nearest, reader::Findings};
use crate::{
    Problem,
    body::{Body, Reference},
};

/// What is known of a running task besides its environment.
const KNOWN: [&str; 5] = ["attr", "node", "meta", "env", "device"];

/// Whether a reference with this name at its beginning is one to what an agent knows.
pub(crate) fn is_of_running_task(name: &str) -> bool {
    name.starts_with("NOMAD_") || KNOWN.contains(&name)
}

/// Names in `config` that nothing will give a value. A template may add to the environment what only it knows; and what
/// an agent knows is known with the machine alone: [`Task::unresolved`].
pub(super) fn check(task: &Task, findings: &Findings) {
    if task.has_environment_of_templates() {
        return;
    }
    let unknown = references(&task.config).into_iter().filter(|reference| {
        let name = &reference.name;
        !is_of_running_task(name) && !task.env.contains_key(name)
    });
    findings.problems.borrow_mut().extend(unknown.map(|reference| problem(reference, &reference.name, None)));
}

impl Task {
    /// Whether a template adds to the environment.
    pub fn has_environment_of_templates(&self) -> bool {
        self.templates.iter().any(|template| template.env)
    }

    /// The references in `config` to which `resolve` has no answer, each a problem; `known` are names that it answers to.
    pub fn unresolved(&self, resolve: &dyn Fn(&str) -> Option<String>, known: &[&str]) -> Vec<Problem> {
        let unknown = references(&self.config).into_iter().filter(|reference| resolve(&reference.path).is_none());
        unknown.map(|reference| problem(reference, &reference.path, nearest(&reference.path, known))).collect()
    }
}

fn problem(reference: &Reference, name: &str, nearest: Option<&str>) -> Problem {
    let problem = Problem::at(reference.span.clone(), format!("nothing gives {name:?} a value when the task runs"));
    problem.hint(match nearest {
        Some(nearest) => format!("did you mean `${{{nearest}}}`?"),
        None => format!("for the text `${{{name}}}` itself write `$${{{name}}}`"),
    })
}

fn references(body: &Body) -> Vec<&Reference> {
    let own = body.attributes.iter().flat_map(|attribute| &attribute.references);
    own.chain(body.blocks.iter().flat_map(|block| references(&block.body))).collect()
}
