//! HCL text to a [`Body`]: variables and locals resolved, functions called, dynamic blocks written out.

mod files;
mod functions;
mod json;
mod place;
mod references;
mod variables;

use std::{collections::BTreeMap, ops::Range};

use hcl::eval::Context;
use hcl_edit::{
    Span,
    expr::Expression,
    structure::{self, Structure},
};
use references::Carried;
pub use variables::Variable;

use crate::{
    Diagnostics, Inputs, Problem, Source,
    body::{Attribute, Block, Body, Reference, Value},
};

/// How deep blocks and brackets may nest.
const MAX_DEPTH: usize = 64;

/// Evaluates a whole file. What cannot be evaluated is null in the body, and one of the problems.
pub(crate) fn evaluate(source: &Source, inputs: &Inputs<'_>) -> Result<(Body, Vec<Problem>), Diagnostics> {
    let parsed = parse(source).map_err(|problem| Diagnostics::new(source, vec![problem]))?;
    let mut evaluator =
        Evaluator { inputs, scope: BTreeMap::new(), problems: Vec::new(), references: Vec::new(), carried: Vec::new() };
    variables::declare(&mut evaluator, &parsed)?;
    let body = evaluator.body(&parsed, &["variable", "variables", "locals"]);
    Ok((body, evaluator.problems))
}

/// The file's syntax.
fn parse(source: &Source) -> Result<structure::Body, Problem> {
    // The parser recurses; a file that nests without end must not exhaust the stack.
    let mut depth = 0usize;
    for (offset, byte) in source.text.bytes().enumerate() {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Problem::at(offset..offset + 1, "nested too deeply"));
        }
    }
    if json::is_json(&source.text) {
        return json::parse(source);
    }
    hcl_edit::parser::parse_body(&source.text).map_err(|error| syntax_error(source, &error))
}

fn syntax_error(source: &Source, error: &hcl_edit::parser::Error) -> Problem {
    let at = error.location().offset().min(source.text.len());
    let end = (at + 1).min(source.text.len());
    let message = error.message().replace('\n', ", ");
    Problem::at(at..end, format!("syntax error: {message}"))
}

struct Evaluator<'a> {
    inputs: &'a Inputs<'a>,
    /// `var`, `local` and what `dynamic` blocks iterate over.
    scope: BTreeMap<String, Value>,
    problems: Vec<Problem>,
    /// The run-time references of what was evaluated last.
    references: Vec<Reference>,
    /// Those that the scope holds.
    carried: Vec<Carried>,
}

impl Evaluator<'_> {
    fn context(&self) -> Context<'static> {
        let mut context = Context::new();
        for (name, value) in &self.scope {
            if let Ok(name) = hcl::Identifier::new(name.as_str()) {
                context.declare_var(name, value.clone());
            }
        }
        functions::declare(&mut context);
        files::declare(&mut context);
        context
    }

    /// An expression's value; null where it has none, with the problem kept.
    fn value(&mut self, expression: &Expression) -> Value {
        let context = self.context();
        let mut resolved = expression.clone();
        self.references = references::resolve(&mut resolved, &self.scope, self.inputs);
        match files::evaluate(&hcl::Expression::from(resolved), &context, self.inputs.files) {
            Ok(value) => sorted(value),
            Err(error) => {
                self.problems.push(place::problem(expression, &error.into_kind(), &self.scope));
                Value::Null
            }
        }
    }

    /// The value of an expression that the scope is to hold.
    fn carried_value(&mut self, expression: &Expression) -> Value {
        let value = self.value(expression);
        self.carried.extend(std::mem::take(&mut self.references).into_iter().map(Carried::here));
        value
    }

    fn body(&mut self, body: &structure::Body, leave_out: &[&str]) -> Body {
        let mut evaluated = Body { span: body.span().unwrap_or_default(), ..Body::default() };
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => {
                    let evaluated_attribute = self.attribute(attribute);
                    evaluated.attributes.push(evaluated_attribute);
                }
                Structure::Block(block) if leave_out.contains(&block.ident.as_str()) => {}
                Structure::Block(block) if block.ident.as_str() == "dynamic" => self.dynamic(block, &mut evaluated),
                Structure::Block(block) => {
                    let block = Block {
                        name: block.ident.to_string(),
                        labels: block.labels.iter().map(|label| label.as_str().to_owned()).collect(),
                        body: self.body(&block.body, &[]),
                        span: name_span(block),
                    };
                    evaluated.blocks.push(block);
                }
            }
        }
        evaluated
    }

    fn attribute(&mut self, attribute: &structure::Attribute) -> Attribute {
        let before = self.problems.len();
        let value = self.value(&attribute.value);
        let value_span = attribute.value.span().unwrap_or_default();
        let mut references = std::mem::take(&mut self.references);
        let carried = references::within(&value, &self.carried).into_iter();
        references.extend(carried.map(|carried| carried.at(&value_span)));
        Attribute {
            name: attribute.key.to_string(),
            value,
            span: attribute.key.span().unwrap_or_else(|| value_span.clone()),
            value_span,
            references,
            failed: self.problems.len() > before,
        }
    }

    /// `dynamic "name" { for_each = ..., iterator = ..., labels = ..., content { ... } }`
    fn dynamic(&mut self, block: &structure::Block, into: &mut Body) {
        let span = name_span(block);
        let Some(name) = block.labels.first().map(|label| label.as_str().to_owned()) else {
            self.problems.push(Problem::at(span, "a dynamic block needs the name of the blocks that it makes"));
            return;
        };
        let (Some(for_each), Some(content)) =
            (block.body.get_attribute("for_each"), block.body.get_blocks("content").next())
        else {
            self.problems.push(Problem::at(span, "a dynamic block needs `for_each` and a `content` block"));
            return;
        };
        let iterator = match block.body.get_attribute("iterator").map(|iterator| &iterator.value) {
            Some(Expression::Variable(variable)) => variable.to_string(),
            _ => name.clone(),
        };
        let items: Vec<(Value, Value)> = match self.carried_value(&for_each.value) {
            Value::Array(items) => items.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect(),
            Value::Object(items) => items.into_iter().map(|(key, item)| (key.into(), item)).collect(),
            Value::Null => return,
            _ => {
                let span = for_each.value.span().unwrap_or_default();
                self.problems.push(Problem::at(span, "`for_each` needs a list or a map"));
                return;
            }
        };
        let hidden = self.scope.remove(&iterator);
        for (key, value) in items {
            let each: hcl::Map<String, Value> =
                [("key".to_owned(), key), ("value".to_owned(), value)].into_iter().collect();
            self.scope.insert(iterator.clone(), Value::Object(each));
            let labels = match block.body.get_attribute("labels").map(|labels| self.value(&labels.value)) {
                Some(Value::Array(labels)) => {
                    labels.into_iter().map(|label| label.as_str().unwrap_or_default().to_owned()).collect()
                }
                _ => Vec::new(),
            };
            let body = self.body(&content.body, &[]);
            into.blocks.push(Block { name: name.clone(), labels, body, span: span.clone() });
        }
        self.scope.remove(&iterator);
        self.scope.extend(hidden.map(|hidden| (iterator, hidden)));
    }
}

/// Where a block's name stands; a block of a JSON file has no place but its first value's.
fn name_span(block: &structure::Block) -> Range<usize> {
    let first = || {
        block.body.iter().next().map(|first| match first {
            Structure::Attribute(attribute) => attribute.value.span().unwrap_or_default(),
            Structure::Block(block) => name_span(block),
        })
    };
    block.ident.span().or_else(first).unwrap_or_default()
}

/// The value with every object's fields in the order in which HCL visits them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort_by(|(left, _), (right, _)| left.cmp(right));
            Value::Object(fields.into_iter().collect())
        }
        scalar => scalar,
    }
}
