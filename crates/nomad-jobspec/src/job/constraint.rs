//! `constraint` blocks: what the machine must be like.

use super::{
    Constraint, Operator,
    reader::{Findings, Reader},
};
use crate::{Problem, body::Block};

/// Every operator with its name; some have several.
const OPERATORS: [(&str, Operator); 17] = [
    ("=", Operator::Equal),
    ("==", Operator::Equal),
    ("is", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("not", Operator::NotEqual),
    ("<", Operator::Less),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    (">=", Operator::GreaterOrEqual),
    ("regexp", Operator::Regexp),
    ("version", Operator::Version),
    ("semver", Operator::Semver),
    ("set_contains", Operator::ContainsAll),
    ("set_contains_all", Operator::ContainsAll),
    ("set_contains_any", Operator::ContainsAny),
    ("is_set", Operator::IsSet),
    ("is_not_set", Operator::IsNotSet),
];

/// Operators that may stand in place of `value`: `version = ">= 20"`.
const SHORT: [&str; 6] = ["regexp", "version", "semver", "set_contains", "set_contains_all", "set_contains_any"];

/// What says how instances are spread over machines.
const SPREADING: [&str; 2] = ["distinct_hosts", "distinct_property"];

impl Operator {
    /// The operator of a name.
    pub fn named(name: &str) -> Option<Self> {
        OPERATORS.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator)
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        OPERATORS.iter().find(|(_, operator)| *operator == self).map_or("", |(name, _)| name)
    }
}

/// The constraints of a job, group or task. All instances are on the one machine, so those that spread them are ignored.
pub(super) fn constraints(reader: &Reader<'_>, findings: &Findings) -> Vec<Constraint> {
    reader.blocks("constraint").into_iter().filter_map(|block| constraint(block, findings)).collect()
}

fn constraint(block: &Block, findings: &Findings) -> Option<Constraint> {
    let reader = Reader::new(&block.body, findings);
    let attribute = reader.text("attribute").unwrap_or_default();
    let mut value = reader.text("value").unwrap_or_default();
    let mut name = reader.text("operator").unwrap_or_else(|| "=".to_owned());
    let mut at = reader.span("operator");
    for short in SHORT {
        if let Some(text) = reader.text(short) {
            (name, value, at) = (short.to_owned(), text, reader.span(short));
        }
    }
    let spreads =
        block.body.attribute("distinct_hosts").or_else(|| block.body.attribute("distinct_property")).is_some();
    let failed = reader.failed("attribute");
    reader.ignore(&SPREADING);
    reader.end();
    if spreads {
        return None;
    }
    if let Some(spreading) = SPREADING.iter().find(|known| **known == name) {
        findings.ignored(spreading);
        return None;
    }
    let Some(operator) = Operator::named(&name) else {
        let known: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
        let problem = Problem::at(at, format!("unknown operator {name:?} in a constraint"));
        findings.problems.borrow_mut().push(problem.hint(format!("these are known: {}", known.join(", "))));
        return None;
    };
    if attribute.is_empty() && !failed {
        findings.problem(&block.span, "a constraint needs an attribute");
    }
    Some(Constraint { attribute, operator, value })
}
