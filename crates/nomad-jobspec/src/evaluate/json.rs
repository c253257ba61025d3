//! The JSON form of a job file, `{"job": {"web": {"group": {...}}}}`, to the structure of the native one.
//!
//! A JSON object is an HCL expression too, with the same meaning of `${...}` in its strings; so HCL's own parser reads
//! it, and what is a block in a job file is made one.

use hcl_edit::{
    Ident, Span,
    expr::{Expression, Object, ObjectKey},
    structure::{Attribute, Block, BlockLabel, Body},
};

use crate::{Problem, Source};

/// The blocks of a job file, each with the count of its labels. What is not here is an attribute, as is everything in
/// a `config`: its driver's schema decides.
const BLOCKS: [(&str, usize); 16] = [
    ("variable", 1),
    ("validation", 0),
    ("locals", 0),
    ("job", 1),
    ("group", 1),
    ("task", 1),
    ("network", 0),
    ("port", 1),
    ("dns", 0),
    ("config", 0),
    ("resources", 0),
    ("restart", 0),
    ("template", 0),
    ("logs", 0),
    ("lifecycle", 0),
    ("constraint", 0),
];

/// Whether the text is JSON: a native file cannot begin with a brace.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The file's structure.
pub(super) fn parse(source: &Source) -> Result<Body, Problem> {
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&source.text) {
        let line: usize = source.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = (line + error.column().saturating_sub(1)).min(source.text.len().saturating_sub(1));
        return Err(Problem::at(at..at + 1, format!("invalid JSON: {error}")));
    }
    // An expression has no space around it, but in parentheses; so all of it keeps its place.
    let object = without_quotes_escaped(source.text.trim());
    let text = match source.text.len() - source.text.trim_start().len() {
        0 => object,
        space => format!("({}{object})", " ".repeat(space - 1)),
    };
    let expression = hcl_edit::parser::parse_expr(&text).map_err(|error| super::syntax_error(source, &error))?;
    let expression = match expression {
        Expression::Parenthesis(inside) => inside.into_inner(),
        other => other,
    };
    match expression {
        Expression::Object(file) if file.iter().any(|(key, _)| name_of(key) == Some("Job")) => {
            let problem = Problem::new("this is the form of Nomad's HTTP API, not that of a job file");
            Err(problem.hint("write the job as {\"job\": {\"<name>\": {\"group\": {...}}}}, or in HCL"))
        }
        Expression::Object(file) => body(&file),
        other => Err(Problem::at(other.span().unwrap_or_default(), "a JSON job file is an object")),
    }
}

/// The text with `\"` inside `${...}` as a quote and a space, so that all else keeps its place.
///
/// A JSON string has to escape the quotes of its expressions, `"${upper(\"a\")}"`; in HCL they stand as they are.
fn without_quotes_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // The braces that are open in an expression, and whether a string of its own is.
    let (mut depth, mut quoted) = (0usize, false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if depth > 0 && chars.next_if_eq(&'"').is_some() => {
                // The space is put outside of the quotes.
                out.push_str(if quoted { "\" " } else { " \"" });
                quoted = !quoted;
            }
            '\\' => {
                out.push(char);
                out.extend(chars.next());
            }
            '{' if depth > 0 && !quoted || depth == 0 && opens_expression(&out) => {
                depth += 1;
                out.push(char);
            }
            '}' if depth > 0 && !quoted => {
                depth -= 1;
                out.push(char);
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether a brace behind this text begins an expression: `$${` stands for the text `${`.
fn opens_expression(before: &str) -> bool {
    ['$', '%'].iter().any(|sign| before.strip_suffix(*sign).is_some_and(|before| !before.ends_with(*sign)))
}

/// An object as a body.
fn body(object: &Object) -> Result<Body, Problem> {
    let mut body = Body::new();
    for (key, value) in object {
        let value = value.expr();
        let name = identifier(key)?;
        match BLOCKS.iter().find(|(block, _)| *block == name.as_str()) {
            Some((_, labels)) => blocks(&name, *labels, &mut Vec::new(), value, &mut body)?,
            None => body.push(Attribute::new(name, value.clone())),
        }
    }
    Ok(body)
}

/// Adds the blocks that a value stands for: an object below each label, and a list where there are several.
fn blocks(
    name: &Ident,
    labels: usize,
    given: &mut Vec<String>,
    value: &Expression,
    into: &mut Body,
) -> Result<(), Problem> {
    match value {
        Expression::Array(items) => items.iter().try_for_each(|item| blocks(name, labels, given, item, into)),
        Expression::Object(object) if labels > 0 => object.iter().try_for_each(|(key, value)| {
            given.push(identifier_text(key)?.to_owned());
            let outcome = blocks(name, labels - 1, given, value.expr(), into);
            given.pop();
            outcome
        }),
        Expression::Object(object) => {
            let mut block = Block::new(name.clone());
            block.labels = given.iter().map(|label| BlockLabel::from(label.as_str())).collect();
            block.body = match name.as_str() {
                "config" => attributes(object)?,
                _ => body(object)?,
            };
            into.push(block);
            Ok(())
        }
        Expression::Null(_) => Ok(()),
        other => Err(Problem::at(other.span().unwrap_or_default(), format!("{name} needs an object"))),
    }
}

fn attributes(object: &Object) -> Result<Body, Problem> {
    let mut body = Body::new();
    for (key, value) in object {
        body.push(Attribute::new(identifier(key)?, value.expr().clone()));
    }
    Ok(body)
}

fn name_of(key: &ObjectKey) -> Option<&str> {
    match key {
        ObjectKey::Ident(name) => Some(name.as_str()),
        ObjectKey::Expression(name) => name.as_str(),
    }
}

fn identifier_text(key: &ObjectKey) -> Result<&str, Problem> {
    name_of(key).ok_or_else(|| Problem::at(key.span().unwrap_or_default(), "a name is needed, not a template"))
}

fn identifier(key: &ObjectKey) -> Result<Ident, Problem> {
    let name = identifier_text(key)?;
    Ident::try_new(name)
        .map_err(|_| Problem::at(key.span().unwrap_or_default(), format!("{name:?} cannot be an argument's name")))
}
