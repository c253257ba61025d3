//! `variable` and `locals` blocks.

mod kind;

use hcl_edit::{Span, expr::Expression, structure};

pub use self::kind::Variable;
use super::{Evaluator, name_span, parse, references::Carried};
use crate::{
    Diagnostics, Problem,
    body::{Reference, Value},
    interpolate::paths,
    job::is_of_running_task,
};

/// Puts `var` and `local` into the scope.
///
/// The error is that of a variable file; the file's own problems are kept.
pub(super) fn declare(evaluator: &mut Evaluator<'_>, file: &structure::Body) -> Result<(), Diagnostics> {
    let mut given = from_files(evaluator)?;
    let mut variables = hcl::Map::new();
    let blocks: Vec<&structure::Block> = file.get_blocks("variable").collect();
    for (name, text) in evaluator.inputs.variables.clone() {
        given.retain(|(known, ..)| *known != name);
        given.push((name, Given::Text(text)));
    }
    for block in &blocks {
        let Some(name) = block.labels.first().map(|label| label.as_str().to_owned()) else {
            evaluator.problems.push(Problem::at(name_span(block), "a variable needs a name"));
            continue;
        };
        let written = block.body.get_attribute("type").map(|ty| &ty.value);
        let ty = written.and_then(Variable::of);
        if let (Some(expression), None) = (written, &ty) {
            let span = expression.span().unwrap_or_default();
            evaluator.problems.push(Problem::at(span, format!("unknown type of variable {name:?}")));
            variables.insert(name, Value::Null);
            continue;
        }
        let value = if let Some(index) = given.iter().position(|(known, _)| *known == name) {
            match given.swap_remove(index).1 {
                Given::Value(value) => value,
                Given::Text(text) => read_text(evaluator, &text, ty.as_ref()),
            }
        } else if let Some(default) = block.body.get_attribute("default") {
            evaluator.carried_value(&default.value)
        } else {
            let message = format!("variable {name:?} has no value");
            let hint = format!("give it one with -var '{name}=...', with -var-file, or with a default");
            evaluator.problems.push(Problem::at(name_span(block), message).hint(hint));
            // So that its uses are no additional problems.
            variables.insert(name, Value::Null);
            continue;
        };
        known_arguments(evaluator, block);
        match ty.unwrap_or(Variable::Any).convert(value) {
            Ok(value) => {
                validate(evaluator, block, &name, &value);
                variables.insert(name, value);
            }
            Err(error) => {
                evaluator.problems.push(Problem::at(name_span(block), format!("variable {name:?}: {error}")));
                variables.insert(name, Value::Null);
            }
        }
    }
    for (name, _) in given {
        let declared: Vec<&str> =
            blocks.iter().filter_map(|block| block.labels.first()).map(structure::BlockLabel::as_str).collect();
        let hint = if declared.is_empty() {
            "the file declares no variables".to_owned()
        } else {
            format!("the file declares {}", declared.join(", "))
        };
        evaluator.problems.push(Problem::new(format!("no variable is called {name:?}")).hint(hint));
    }
    evaluator.scope.insert("var".to_owned(), Value::Object(variables));
    locals(evaluator, file);
    Ok(())
}

/// Only what a variable has is accepted in its block.
fn known_arguments(evaluator: &mut Evaluator<'_>, variable: &structure::Block) {
    for part in &variable.body {
        let (name, span) = match part {
            structure::Structure::Attribute(attribute) => (attribute.key.as_str(), attribute.key.span()),
            structure::Structure::Block(block) => (block.ident.as_str(), block.ident.span()),
        };
        if !["type", "default", "description", "sensitive", "nullable", "validation"].contains(&name) {
            let message = format!("unsupported argument {name:?} of a variable");
            evaluator.problems.push(Problem::at(span.unwrap_or_default(), message));
        }
    }
}

/// `validation { condition = ..., error_message = "..." }`
fn validate(evaluator: &mut Evaluator<'_>, variable: &structure::Block, name: &str, value: &Value) {
    for validation in variable.body.get_blocks("validation") {
        let Some(condition) = validation.body.get_attribute("condition") else {
            evaluator.problems.push(Problem::at(name_span(validation), "a validation needs a condition"));
            continue;
        };
        let this = [(name.to_owned(), value.clone())].into_iter().collect();
        let hidden = evaluator.scope.insert("var".to_owned(), Value::Object(this));
        let before = evaluator.problems.len();
        let holds = evaluator.value(&condition.value);
        let message = validation.body.get_attribute("error_message").map(|message| evaluator.value(&message.value));
        evaluator.scope.remove("var");
        evaluator.scope.extend(hidden.map(|hidden| ("var".to_owned(), hidden)));
        if holds != Value::Bool(true) && evaluator.problems.len() == before {
            let problem = Problem::at(
                condition.value.span().unwrap_or_default(),
                format!("variable {name:?} is {value}, which its validation refuses"),
            );
            evaluator.problems.push(match message.as_ref().and_then(Value::as_str) {
                Some(message) => problem.hint(message),
                None => problem,
            });
        }
    }
}

enum Given {
    Text(String),
    Value(Value),
}

/// The values in variable files; later files win.
fn from_files(evaluator: &mut Evaluator<'_>) -> Result<Vec<(String, Given)>, Diagnostics> {
    let mut given: Vec<(String, Given)> = Vec::new();
    for source in &evaluator.inputs.variable_files {
        let failed = |problems| Diagnostics::new(source, problems);
        let body = parse(source).map_err(|problem| failed(vec![problem]))?;
        let body = evaluator.body(&body, &[]);
        for block in &body.blocks {
            let message = "a variable file holds `name = value` lines only";
            evaluator.problems.push(Problem::at(block.span.clone(), message));
        }
        if !evaluator.problems.is_empty() {
            return Err(failed(std::mem::take(&mut evaluator.problems)));
        }
        for attribute in body.attributes {
            carry(evaluator, attribute.references);
            given.retain(|(known, _)| *known != attribute.name);
            given.push((attribute.name, Given::Value(attribute.value)));
        }
    }
    Ok(given)
}

/// A value of the command line: text as it is for strings, HCL for all else.
fn read_text(evaluator: &mut Evaluator<'_>, text: &str, ty: Option<&Variable>) -> Value {
    let parsed = match ty {
        Some(Variable::String) | None => None,
        Some(_) => hcl_edit::parser::parse_expr(text).ok(),
    };
    let Some(expression) = parsed else {
        // An agent looks for references in it, too; all else may be meant for a shell.
        let known = paths(text).into_iter().map(|path| (path.split('.').next().unwrap_or_default().to_owned(), path));
        let known = known.filter(|(name, _)| is_of_running_task(name));
        carry(evaluator, known.map(|(name, path)| Reference { name, path, span: 0..0 }).collect());
        return Value::String(text.to_owned());
    };
    let value = evaluator.value(&expression);
    let references = std::mem::take(&mut evaluator.references);
    carry(evaluator, references);
    value
}

/// Notes the references of a value that does not stand in the job file.
fn carry(evaluator: &mut Evaluator<'_>, references: Vec<Reference>) {
    evaluator.carried.extend(references.into_iter().map(Carried::from_elsewhere));
}

/// Locals may refer to each other in any order: what fails for a missing one is tried again while others succeed.
fn locals(evaluator: &mut Evaluator<'_>, file: &structure::Body) {
    let mut waiting: Vec<(String, Expression)> = Vec::new();
    for block in file.get_blocks("locals") {
        waiting.extend(block.body.attributes().map(|local| (local.key.to_string(), local.value.clone())));
    }
    let mut known = hcl::Map::new();
    loop {
        evaluator.scope.insert("local".to_owned(), Value::Object(known.clone()));
        let problems = evaluator.problems.len();
        let before = waiting.len();
        waiting.retain(|(name, expression)| {
            let problems = evaluator.problems.len();
            let value = evaluator.carried_value(expression);
            if evaluator.problems.len() > problems {
                return true;
            }
            known.insert(name.clone(), value);
            false
        });
        if waiting.is_empty() || waiting.len() == before {
            evaluator.scope.insert("local".to_owned(), Value::Object(known));
            return;
        }
        evaluator.problems.truncate(problems);
    }
}
