//! Whether the names that a task's `config` refers to are there when it runs.

use super::{Task, reader::Findings};
use crate::{
    Problem,
    body::{Body, Reference},
};

/// What is known of a running task besides its environment.
const KNOWN: [&str; 5] = ["attr", "node", "meta", "env", "device"];

/// Names in `config` that nothing will give a value. A template may add to the environment what only it knows.
pub(super) fn check(task: &Task, findings: &Findings) {
    if task.templates.iter().any(|template| template.env) {
        return;
    }
    for Reference { name, span } in references(&task.config) {
        if name.starts_with("NOMAD_") || KNOWN.contains(&name.as_str()) || task.env.contains_key(name) {
            continue;
        }
        let problem = Problem::at(span.clone(), format!("nothing gives {name:?} a value when the task runs"));
        let hint = format!("for the text `${{{name}}}` itself write `$${{{name}}}`");
        findings.problems.borrow_mut().push(problem.hint(hint));
    }
}

fn references(body: &Body) -> Vec<&Reference> {
    let own = body.attributes.iter().flat_map(|attribute| &attribute.references);
    own.chain(body.blocks.iter().flat_map(|block| references(&block.body))).collect()
}
