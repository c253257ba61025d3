//! `variable` and `locals` blocks.

use hcl_edit::{Span, expr::Expression, structure};

use super::{Evaluator, name_span, parse};
use crate::{Diagnostics, Problem, body::Value};

/// A variable's type, as far as job files use them.
#[derive(Clone, Debug, PartialEq)]
pub enum Variable {
    /// `string`
    String,
    /// `number`
    Number,
    /// `bool`
    Bool,
    /// `list(T)`, `set(T)`
    List(Box<Variable>),
    /// `map(T)`
    Map(Box<Variable>),
    /// `any`, objects and tuples: taken as they are.
    Any,
}

impl Variable {
    fn of(expression: &Expression) -> Option<Self> {
        match expression {
            Expression::Variable(name) => Some(match name.as_str() {
                "string" => Self::String,
                "number" => Self::Number,
                "bool" => Self::Bool,
                "any" => Self::Any,
                "list" | "set" => Self::List(Box::new(Self::Any)),
                "map" => Self::Map(Box::new(Self::Any)),
                _ => return None,
            }),
            // The form of JSON, and of HCL 1.
            Expression::String(text) => {
                hcl_edit::parser::parse_expr(text.as_str()).ok().filter(|ty| !ty.is_str()).as_ref().and_then(Self::of)
            }
            Expression::FuncCall(call) => {
                let of = || call.args.iter().next().and_then(Self::of).map(Box::new);
                match call.name.name.as_str() {
                    "list" | "set" => of().map(Self::List),
                    "map" => of().map(Self::Map),
                    "object" | "tuple" | "optional" => Some(Self::Any),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The value in this type, converted where HCL converts.
    fn convert(&self, value: Value) -> Result<Value, String> {
        match (self, value) {
            (Self::Any, value) => Ok(value),
            (_, Value::Null) => Ok(Value::Null),
            (Self::String, Value::String(text)) => Ok(Value::String(text)),
            (Self::String, Value::Bool(truth)) => Ok(Value::String(truth.to_string())),
            (Self::String, Value::Number(number)) => Ok(Value::String(number.to_string())),
            (Self::Number, Value::Number(number)) => Ok(Value::Number(number)),
            (Self::Number, Value::String(text)) => number(&text),
            (Self::Bool, Value::Bool(truth)) => Ok(Value::Bool(truth)),
            (Self::Bool, Value::String(text)) => match text.as_str() {
                "true" | "1" => Ok(Value::Bool(true)),
                "false" | "0" => Ok(Value::Bool(false)),
                _ => Err(format!("a bool is needed, this is {text:?}")),
            },
            (Self::List(of), Value::Array(items)) => {
                Ok(Value::Array(items.into_iter().map(|item| of.convert(item)).collect::<Result<_, _>>()?))
            }
            (Self::Map(of), Value::Object(items)) => {
                let items = items.into_iter().map(|(key, item)| Ok((key, of.convert(item)?)));
                Ok(Value::Object(items.collect::<Result<_, String>>()?))
            }
            (ty, value) => Err(format!("{} is needed, this is {value}", ty.article())),
        }
    }

    fn article(&self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a bool",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Any => "a value",
        }
    }
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(int) = text.parse::<i64>() {
        return Ok(int.into());
    }
    let float = text.parse::<f64>().ok().and_then(hcl::Number::from_f64);
    float.map(Value::Number).ok_or_else(|| format!("a number is needed, this is {text:?}"))
}

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
            evaluator.value(&default.value)
        } else {
            let message = format!("variable {name:?} has no value");
            let hint = format!("give it one with -var '{name}=...', with -var-file, or with a default");
            evaluator.problems.push(Problem::at(name_span(block), message).hint(hint));
            // So that its uses are no further problems.
            variables.insert(name, Value::Null);
            continue;
        };
        match ty.unwrap_or(Variable::Any).convert(value) {
            Ok(value) => {
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
            given.retain(|(known, _)| *known != attribute.name);
            given.push((attribute.name, Given::Value(attribute.value)));
        }
    }
    Ok(given)
}

/// A value of the command line: text as it is for strings, HCL for all else.
fn read_text(evaluator: &mut Evaluator<'_>, text: &str, ty: Option<&Variable>) -> Value {
    if matches!(ty, Some(Variable::String) | None) {
        return Value::String(text.to_owned());
    }
    match hcl_edit::parser::parse_expr(text) {
        Ok(expression) => evaluator.value(&expression),
        Err(_) => Value::String(text.to_owned()),
    }
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
            let value = evaluator.value(expression);
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
