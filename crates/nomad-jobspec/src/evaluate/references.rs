//! What has to happen to an expression before it can be evaluated: references that are known only at run time become
//! text again, and functions that ask the world are answered.

use std::path::Path;

use hcl::eval::{Context, Evaluate};
use hcl_edit::{
    Span, Spanned,
    expr::{Expression, FuncCall},
    template::Element,
    visit_mut::{self, VisitMut},
};

use crate::{Inputs, Problem, body::Value};

/// Roots of references that a running task resolves.
const RUN_TIME: [&str; 5] = ["attr", "env", "meta", "node", "device"];

pub(super) fn resolve(expression: &mut Expression, context: &Context<'_>, inputs: &Inputs<'_>) -> Result<(), Problem> {
    let mut resolver = Resolver { context, inputs, problem: None };
    resolver.visit_expr_mut(expression);
    match resolver.problem {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

struct Resolver<'a> {
    context: &'a Context<'a>,
    inputs: &'a Inputs<'a>,
    problem: Option<Problem>,
}

impl VisitMut for Resolver<'_> {
    fn visit_element_mut(&mut self, element: &mut Element) {
        if let Element::Interpolation(interpolation) = element
            && is_run_time(&interpolation.expr)
        {
            let text = format!("${{{}}}", interpolation.expr.to_string().trim());
            *element = Element::Literal(Spanned::new(text));
            return;
        }
        visit_mut::visit_element_mut(self, element);
    }

    fn visit_expr_mut(&mut self, expression: &mut Expression) {
        visit_mut::visit_expr_mut(self, expression);
        let Expression::FuncCall(call) = expression else { return };
        match self.answer(call) {
            Ok(None) => {}
            Ok(Some(value)) => *expression = hcl::Expression::from(value).into(),
            Err(message) => {
                let span = call.name.name.span().unwrap_or_default();
                let message = format!("{}: {message}", call.name.name.as_str());
                self.problem.get_or_insert(Problem::at(span, message));
            }
        }
    }
}

impl Resolver<'_> {
    /// The answer to a call that asks the world; `None` for every other one.
    fn answer(&self, call: &FuncCall) -> Result<Option<Value>, String> {
        let text = |index: usize| -> Result<String, String> {
            let argument = call.args.iter().nth(index).ok_or("an argument is missing")?;
            match hcl::Expression::from(argument.clone()).evaluate(self.context) {
                Ok(Value::String(text)) => Ok(text),
                Ok(other) => Err(format!("a string is needed, this is {other}")),
                Err(error) => Err(error.into_kind().to_string()),
            }
        };
        if !call.name.namespace.is_empty() {
            return Ok(None);
        }
        let value = match call.name.name.as_str() {
            "file" => self.inputs.files.read(Path::new(&text(0)?))?.into(),
            "filebase64" => super::functions::base64(self.inputs.files.read(Path::new(&text(0)?))?.as_bytes()).into(),
            "fileexists" => self.inputs.files.read(Path::new(&text(0)?)).is_ok().into(),
            "fileset" => {
                let found = self.inputs.files.list(Path::new(&text(0)?), &text(1)?)?;
                Value::Array(found.into_iter().map(Value::from).collect())
            }
            "uuidv4" => (self.inputs.uuid)().into(),
            _ => return Ok(None),
        };
        Ok(Some(value))
    }
}

/// Whether an expression is a reference that only a running task can resolve.
fn is_run_time(expression: &Expression) -> bool {
    match expression {
        Expression::Variable(name) => name.as_str().starts_with("NOMAD_"),
        Expression::Traversal(traversal) => match &traversal.expr {
            Expression::Variable(root) => RUN_TIME.contains(&root.as_str()) || root.as_str().starts_with("NOMAD_"),
            _ => false,
        },
        _ => false,
    }
}
