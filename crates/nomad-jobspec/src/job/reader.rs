//! Reads a block's attributes and blocks by name, and remembers what is wrong and what was not asked for.

use std::{cell::RefCell, collections::BTreeMap, ops::Range, time::Duration};

use nomad_values::duration::parse_go_duration;

use crate::{
    Problem,
    body::{Block, Body, Value},
};

/// What was found while reading a file.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) ignored: RefCell<Vec<String>>,
}

impl Findings {
    pub(super) fn problem(&self, span: &Range<usize>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem::at(span.clone(), message));
    }

    /// Names what has no meaning on one machine, once.
    pub(super) fn ignored(&self, name: &str) {
        let mut ignored = self.ignored.borrow_mut();
        if !ignored.iter().any(|known| known == name) {
            ignored.push(name.to_owned());
        }
    }
}

pub(super) struct Reader<'a> {
    body: &'a Body,
    findings: &'a Findings,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a Body, findings: &'a Findings) -> Self {
        Self { body, findings, asked: RefCell::default() }
    }

    fn value(&self, name: &'static str) -> Option<(&'a Value, &'a Range<usize>)> {
        self.asked.borrow_mut().push(name);
        let attribute = self.body.attribute(name).filter(|attribute| attribute.value != Value::Null)?;
        Some((&attribute.value, &attribute.value_span))
    }

    fn wrong(&self, span: &Range<usize>, name: &str, needed: &str, value: &Value) {
        self.findings.problem(span, format!("{name}: {needed} is needed, this is {value}"));
    }

    pub(super) fn span(&self, name: &str) -> Range<usize> {
        self.body.attribute(name).map_or_else(|| self.body.span.clone(), |attribute| attribute.value_span.clone())
    }

    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        let (value, span) = self.value(name)?;
        let text = scalar(value);
        if text.is_none() {
            self.wrong(span, name, "a string", value);
        }
        text
    }

    pub(super) fn truth(&self, name: &'static str) -> Option<bool> {
        let (value, span) = self.value(name)?;
        match value {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            other => {
                self.wrong(span, name, "a bool", other);
                None
            }
        }
    }

    /// Whether an attribute is there without a value, because of a problem that is reported already.
    pub(super) fn failed(&self, name: &str) -> bool {
        self.body.attribute(name).is_some_and(|attribute| attribute.failed)
    }

    /// Whether an attribute is this number.
    pub(super) fn is(&self, name: &'static str, number: i64) -> bool {
        self.value(name).and_then(|(value, _)| scalar(value)).is_some_and(|text| text == number.to_string())
    }

    /// A whole number within a range.
    pub(super) fn number(&self, name: &'static str, range: Range<u32>) -> Option<u32> {
        let (value, span) = self.value(name)?;
        let number = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
        if number.is_none() {
            let needed = format!("a whole number from {} to {}", range.start, range.end - 1);
            self.wrong(span, name, &needed, value);
        }
        number
    }

    /// A duration: `30s`, or a number of nanoseconds.
    pub(super) fn duration(&self, name: &'static str) -> Option<Duration> {
        let (value, span) = self.value(name)?;
        let duration = match value {
            Value::String(text) => parse_go_duration(text).ok(),
            Value::Number(number) => number.as_u64().map(Duration::from_nanos),
            _ => None,
        };
        if duration.is_none() {
            self.wrong(span, name, "a duration such as \"30s\"", value);
        }
        duration
    }

    pub(super) fn texts(&self, name: &'static str) -> Option<Vec<String>> {
        let (value, span) = self.value(name)?;
        let texts = value.as_array().and_then(|items| items.iter().map(scalar).collect());
        if texts.is_none() {
            self.wrong(span, name, "a list of strings", value);
        }
        texts
    }

    /// Names and texts of a block, or of an attribute that is a map.
    pub(super) fn text_map(&self, name: &'static str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let mut add = |name: &str, value: &Value, span: &Range<usize>| match scalar(value) {
            Some(text) => {
                map.insert(name.to_owned(), text);
            }
            None if *value == Value::Null => {}
            None => self.wrong(span, name, "a string", value),
        };
        match self.value(name) {
            Some((Value::Object(fields), span)) => fields.iter().for_each(|(name, value)| add(name, value, span)),
            Some((other, span)) => self.wrong(span, name, "a map", other),
            None => {}
        }
        for block in self.body.blocks(name) {
            for attribute in &block.body.attributes {
                add(&attribute.name, &attribute.value, &attribute.value_span);
            }
        }
        map
    }

    pub(super) fn blocks(&self, name: &'static str) -> Vec<&'a Block> {
        self.asked.borrow_mut().push(name);
        self.body.blocks(name).collect()
    }

    /// The block of a name that may stand once.
    pub(super) fn block(&self, name: &'static str) -> Option<&'a Block> {
        let blocks = self.blocks(name);
        if let Some(second) = blocks.get(1) {
            self.findings.problem(&second.span, format!("only one {name} block is allowed"));
        }
        blocks.into_iter().next()
    }

    /// What is not honoured here, and must not be passed over: each time an error, with what there is instead.
    pub(super) fn refuse(&self, name: &'static str, instead: &str) {
        self.asked.borrow_mut().push(name);
        let attributes = self.body.attributes.iter().filter(|attribute| attribute.name == name);
        let spans = attributes.map(|attribute| &attribute.span).chain(self.body.blocks(name).map(|block| &block.span));
        for span in spans {
            let problem = Problem::at(span.clone(), format!("`{name}` is not honoured on one machine"));
            self.findings.problems.borrow_mut().push(problem.hint(instead));
        }
    }

    /// What only a cluster can honour: named once, and left alone.
    pub(super) fn ignore(&self, names: &[&'static str]) {
        for name in names {
            self.asked.borrow_mut().push(name);
            if self.body.attribute(name).is_some() || self.body.blocks(name).next().is_some() {
                self.findings.ignored(name);
            }
        }
    }

    /// Everything was asked for: what is left is unknown.
    pub(super) fn end(self) {
        let asked = self.asked.into_inner();
        let attributes = self.body.attributes.iter().map(|attribute| ("argument", &attribute.name, &attribute.span));
        let blocks = self.body.blocks.iter().map(|block| ("block", &block.name, &block.span));
        for (kind, name, span) in attributes.chain(blocks).filter(|(_, name, _)| !asked.contains(&name.as_str())) {
            let problem = Problem::at(span.clone(), format!("unsupported {kind} {name:?}"));
            let problem = match nearest(name, &asked) {
                Some(nearest) => problem.hint(format!("did you mean {nearest:?}?")),
                None => problem,
            };
            self.findings.problems.borrow_mut().push(problem);
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The known name that is at most two letters away.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let nearest = known.iter().map(|candidate| (distance(name, candidate), *candidate)).min()?;
    (nearest.0 <= 2 && nearest.0 < name.len()).then_some(nearest.1)
}

/// How many letters must be added, taken away or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
