//! What has to happen to an expression before it can be evaluated: references that are known only at run time become
//! text again, and unique ids are made.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use hcl_edit::{
    Decorate, Span, Spanned,
    expr::{Expression, ForIntro, Object, ObjectKey, TraversalOperator},
    template::{Element, ForTemplateExpr},
    visit::{self, Visit},
    visit_mut::{self, VisitMut},
};

use crate::{
    Inputs,
    body::{Reference, Value},
    interpolate::{path, paths},
};

pub(super) fn resolve(
    expression: &mut Expression,
    scope: &BTreeMap<String, Value>,
    inputs: &Inputs<'_>,
) -> Vec<Reference> {
    let mut bound = Bound(scope.keys().cloned().collect());
    bound.visit_expr(expression);
    let mut resolver = Resolver { inputs, bound: bound.0, references: Vec::new() };
    resolver.visit_expr_mut(expression);
    resolver.references
}

/// Those references of `carried`, which variables and locals hold, that are in a value.
pub(super) fn within(value: &Value, carried: &[Carried]) -> Vec<Carried> {
    let mut paths_within = BTreeSet::new();
    let mut todo = vec![value];
    while let Some(value) = todo.pop() {
        match value {
            Value::String(text) => paths_within.extend(paths(text)),
            Value::Array(items) => todo.extend(items),
            Value::Object(fields) => todo.extend(fields.values()),
            _ => {}
        }
    }
    let mut found: Vec<Carried> = Vec::new();
    for reference in carried.iter().filter(|reference| paths_within.contains(&reference.path)) {
        // A local that waited for another one was evaluated several times.
        if !found.contains(reference) {
            found.push(reference.clone());
        }
    }
    found
}

/// A reference in the value of a variable or a local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) name: String,
    pub(super) path: String,
    /// Where it stands, if in the job file.
    pub(super) span: Option<Range<usize>>,
}

impl Carried {
    /// A reference of the job file.
    pub(super) fn here(Reference { name, path, span }: Reference) -> Self {
        Self { name, path, span: Some(span) }
    }

    /// A reference of a variable's value from elsewhere.
    pub(super) fn from_elsewhere(Reference { name, path, .. }: Reference) -> Self {
        Self { name, path, span: None }
    }

    /// As part of a value at this place.
    pub(super) fn at(self, place: &Range<usize>) -> Reference {
        Reference { name: self.name, path: self.path, span: self.span.unwrap_or_else(|| place.clone()) }
    }
}

struct Resolver<'a> {
    inputs: &'a Inputs<'a>,
    /// The names that the file itself gives a value.
    bound: BTreeSet<String>,
    references: Vec<Reference>,
}

impl VisitMut for Resolver<'_> {
    fn visit_element_mut(&mut self, element: &mut Element) {
        if let Element::Interpolation(interpolation) = element
            && let Some(name) = self.run_time(&interpolation.expr)
        {
            let span = interpolation.expr.span().unwrap_or_default();
            let reference = plain(&mut interpolation.expr);
            self.references.push(Reference { name, path: path(&reference), span });
            let text = format!("${{{}}}", reference.trim());
            *element = Element::Literal(Spanned::new(text));
            return;
        }
        visit_mut::visit_element_mut(self, element);
    }

    fn visit_object_mut(&mut self, object: &mut Object) {
        // Keys cannot be changed in their place.
        let entries = std::mem::replace(object, Object::new());
        for (mut key, mut value) in entries {
            if let ObjectKey::Expression(key) = &mut key {
                self.visit_expr_mut(key);
            }
            self.visit_expr_mut(value.expr_mut());
            object.insert(key, value);
        }
    }

    fn visit_expr_mut(&mut self, expression: &mut Expression) {
        visit_mut::visit_expr_mut(self, expression);
        // Functions are called without knowing where they stand, and every place has an id of its own.
        if let Expression::FuncCall(call) = expression
            && call.name.namespace.is_empty()
            && call.name.name.as_str() == "uuidv4"
        {
            *expression = hcl::Expression::from((self.inputs.uuid)()).into();
        }
    }
}

impl Resolver<'_> {
    /// The name of a reference that only a running task can resolve: one that the file does not give a value, be it
    /// `attr`, `node`, `NOMAD_...` or a variable of the task's own environment.
    fn run_time(&self, expression: &Expression) -> Option<String> {
        let root = match expression {
            Expression::Variable(name) => Some(&**name),
            Expression::Traversal(traversal) => traversal.expr.as_variable(),
            _ => None,
        };
        root.map(hcl_edit::Ident::as_str).filter(|root| !self.bound.contains(*root)).map(str::to_owned)
    }
}

/// A reference as it is looked up: `env["HOME"]` also where it is written `env[ "HOME" ]`.
fn plain(reference: &mut Expression) -> String {
    if let Expression::Traversal(traversal) = reference {
        for operator in &mut traversal.operators {
            operator.decor_mut().clear();
            if let TraversalOperator::Index(index) = operator.value_mut() {
                index.decor_mut().clear();
            }
        }
    }
    reference.to_string()
}

/// Collects the names that `for` expressions and directives bind.
struct Bound(BTreeSet<String>);

impl Visit for Bound {
    fn visit_for_intro(&mut self, intro: &ForIntro) {
        self.0.extend(intro.key_var.iter().chain([&intro.value_var]).map(|name| name.as_str().to_owned()));
        visit::visit_for_intro(self, intro);
    }

    fn visit_for_template_expr(&mut self, header: &ForTemplateExpr) {
        self.0.extend(header.key_var.iter().chain([&header.value_var]).map(|name| name.as_str().to_owned()));
        visit::visit_for_template_expr(self, header);
    }
}
