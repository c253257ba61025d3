//! Where in an expression an evaluation failed, which the evaluator does not say.

use std::{collections::BTreeMap, ops::Range};

use hcl::eval::ErrorKind;
use hcl_edit::{
    Span,
    expr::{Expression, TraversalOperator},
    visit::{Visit, visit_expr},
};

use crate::{Problem, body::Value, job::nearest};

/// The error of an expression at the part that it is about, or at the whole.
pub(super) fn problem(expression: &Expression, kind: &ErrorKind, scope: &BTreeMap<String, Value>) -> Problem {
    let mut finder = Finder { kind, found: None };
    finder.visit_expr(expression);
    let Found { span, root } = finder.found.unwrap_or_default();
    let span = span.or_else(|| expression.span()).unwrap_or_default();
    let (ErrorKind::NoSuchKey(key), Some(root)) = (kind, root) else {
        return Problem::at(span, kind.to_string());
    };
    let what = match root.as_str() {
        "var" => "variable",
        "local" => "local value",
        _ => return Problem::at(span, kind.to_string()),
    };
    let declared = scope.get(&root).and_then(Value::as_object);
    let known: Vec<&str> = declared.into_iter().flat_map(|fields| fields.keys()).map(String::as_str).collect();
    let problem = Problem::at(span, format!("no {what} {key:?} is declared in this file"));
    match nearest(key, &known) {
        Some(nearest) => problem.hint(format!("did you mean \"{root}.{nearest}\"?")),
        None => problem,
    }
}

#[derive(Default)]
struct Found {
    span: Option<Range<usize>>,
    /// What the failed key was looked for in: `var` of `var.key`.
    root: Option<String>,
}

struct Finder<'a> {
    kind: &'a ErrorKind,
    found: Option<Found>,
}

impl Visit for Finder<'_> {
    fn visit_expr(&mut self, expression: &Expression) {
        let root = match (self.kind, expression) {
            (ErrorKind::UndefinedVar(name), Expression::Variable(found)) if name.as_str() == found.as_str() => {
                Some(None)
            }
            (ErrorKind::UndefinedFunc(name) | ErrorKind::FuncCall(name, _), Expression::FuncCall(call))
                if name.name.as_str() == call.name.name.as_str() =>
            {
                Some(None)
            }
            (ErrorKind::NoSuchKey(key), Expression::Traversal(traversal)) => {
                let named = |operator: &TraversalOperator| match operator {
                    TraversalOperator::GetAttr(name) => name.as_str() == key,
                    TraversalOperator::Index(index) => index.as_str() == Some(key),
                    _ => false,
                };
                let at = traversal.operators.iter().position(|operator| named(operator.value()));
                let root = |at| if at == 0 { traversal.expr.as_variable() } else { None };
                at.map(|at| root(at).map(ToString::to_string))
            }
            _ => None,
        };
        match root {
            // Of several such parts the first is reported: the evaluation stops there too.
            Some(root) => {
                self.found.get_or_insert(Found { span: expression.span(), root });
            }
            None => visit_expr(self, expression),
        }
    }
}
