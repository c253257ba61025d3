//! A `config` block against the driver's schema, as a Nomad agent does it: every attribute of the schema is present in
//! the result, values are converted to its types, and what the schema does not know is an error.

use std::{collections::BTreeMap, ops::Range};

use nomad_values::{
    hclspec::{Spec, Type},
    msgpack,
};

use crate::{
    Problem,
    body::{Attribute, Block, Body, Value},
    interpolate,
};

/// Resolves run-time references in texts.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The value for the driver, or all that is wrong.
pub fn decode(body: &Body, spec: &Spec, resolve: Resolve<'_>) -> Result<msgpack::Value, Vec<Problem>> {
    let mut decoder = Decoder { resolve, problems: Vec::new() };
    decoder.unknown(body, spec);
    let value = decoder.spec(body, spec);
    if decoder.problems.is_empty() { Ok(value) } else { Err(decoder.problems) }
}

struct Decoder<'a> {
    resolve: Resolve<'a>,
    problems: Vec<Problem>,
}

/// The names that a schema gives a meaning, each with whether it may be a block.
fn names<'a>(spec: &'a Spec, names: &mut Vec<&'a str>) {
    match spec {
        Spec::Object(children) => children.values().for_each(|child| self::names(child, names)),
        Spec::Array(children) => children.iter().for_each(|child| self::names(child, names)),
        Spec::Default { primary, default } => {
            self::names(primary, names);
            self::names(default, names);
        }
        Spec::Literal(_) => {}
        Spec::Attr { name, .. }
        | Spec::Block { name, .. }
        | Spec::BlockAttrs { name, .. }
        | Spec::BlockList { name, .. }
        | Spec::BlockSet { name, .. }
        | Spec::BlockMap { name, .. } => names.push(name),
    }
}

impl Decoder<'_> {
    fn problem(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.problems.push(Problem::at(span.clone(), message));
    }

    fn unknown(&mut self, body: &Body, spec: &Spec) {
        let mut known = Vec::new();
        names(spec, &mut known);
        for Attribute { name, span, .. } in &body.attributes {
            if !known.contains(&name.as_str()) {
                let message = format!("Unsupported argument; An argument named {name:?} is not expected here.");
                self.suggest(span, message, name, &known);
            }
        }
        for Block { name, span, .. } in &body.blocks {
            if !known.contains(&name.as_str()) {
                let message = format!("Unsupported block type; Blocks of type {name:?} are not expected here.");
                self.suggest(span, message, name, &known);
            }
        }
    }

    fn suggest(&mut self, span: &Range<usize>, message: String, name: &str, known: &[&str]) {
        let problem = Problem::at(span.clone(), message);
        self.problems.push(match crate::job::nearest(name, known) {
            Some(nearest) => problem.hint(format!("did you mean {nearest:?}?")),
            None => problem,
        });
    }

    fn spec(&mut self, body: &Body, spec: &Spec) -> msgpack::Value {
        match spec {
            Spec::Object(children) => {
                let children = children.iter().map(|(name, child)| (name.clone(), self.spec(body, child)));
                msgpack::Value::Map(children.collect())
            }
            Spec::Array(children) => {
                msgpack::Value::List(children.iter().map(|child| self.spec(body, child)).collect())
            }
            Spec::Attr { name, ty, required } => self.attr(body, name, ty, *required),
            Spec::Block { name, required, nested } => self.block(body, name, *required, nested),
            Spec::BlockAttrs { name, ty, required } => self.block_attrs(body, name, ty, *required),
            Spec::BlockList { name, min, max, nested } | Spec::BlockSet { name, min, max, nested } => {
                self.block_list(body, name, (*min, *max), nested)
            }
            Spec::BlockMap { name, labels, nested } => self.block_map(body, name, labels.len(), nested),
            Spec::Default { primary, default } => match self.spec(body, primary) {
                msgpack::Value::Null => self.spec(body, default),
                value => value,
            },
            Spec::Literal(expression) => literal(expression),
        }
    }

    fn missing(&mut self, body: &Body, name: &str) -> msgpack::Value {
        let message =
            format!("Missing required argument; The argument {name:?} is required, but no definition was found.");
        let span = body.span.start..(body.span.start + 1).min(body.span.end.max(body.span.start));
        self.problem(&span, message);
        msgpack::Value::Null
    }

    fn attr(&mut self, body: &Body, name: &str, ty: &Type, required: bool) -> msgpack::Value {
        let blocks: Vec<&Block> = body.blocks(name).collect();
        if let Some(attribute) = body.attribute(name) {
            if let Some(block) = blocks.first() {
                self.problem(&block.span, format!("{name} is written as an argument as well"));
            }
            return self.convert(&attribute.value, ty, &attribute.value_span);
        }
        self.no_labels(&blocks);
        // A list of maps may also be written as blocks.
        if let (Type::List(item) | Type::Set(item), Some(first)) = (ty, blocks.first()) {
            if let Type::Map(value) = &**item {
                let maps = blocks.iter().map(|block| self.map_of(&block.body, value)).collect();
                return msgpack::Value::List(maps);
            }
            self.problem(&first.span, format!("{name} is an argument, not a block: write `{name} = ...`"));
        } else if let (Type::Map(value), Some(first)) = (ty, blocks.first()) {
            self.only_one(name, blocks.iter().map(|block| &block.span));
            return self.map_of(&first.body, value);
        } else if let Some(first) = blocks.first() {
            self.problem(&first.span, format!("{name} is an argument, not a block: write `{name} = ...`"));
        }
        if required { self.missing(body, name) } else { msgpack::Value::Null }
    }

    fn map_of(&mut self, body: &Body, ty: &Type) -> msgpack::Value {
        for block in &body.blocks {
            self.problem(&block.span, "a block is not expected here");
        }
        let entries = body.attributes.iter();
        let entries = entries.map(|entry| (entry.name.clone(), self.convert(&entry.value, ty, &entry.value_span)));
        msgpack::Value::Map(entries.collect())
    }

    fn only_one<'s>(&mut self, name: &str, mut spans: impl Iterator<Item = &'s Range<usize>>) {
        if let Some(second) = spans.nth(1) {
            self.problem(second, format!("only one {name} block is allowed"));
        }
    }

    fn no_labels(&mut self, blocks: &[&Block]) {
        for block in blocks.iter().filter(|block| !block.labels.is_empty()) {
            let name = &block.name;
            let message = format!("Extraneous label for {name}; No labels are expected for {name} blocks.");
            self.problem(&block.span, message);
        }
    }

    fn block(&mut self, body: &Body, name: &str, required: bool, nested: &Spec) -> msgpack::Value {
        let bodies = self.bodies(body, name);
        self.only_one(name, bodies.iter().map(|(_, span)| span));
        match bodies.into_iter().next() {
            Some((inner, _)) => {
                self.unknown(&inner, nested);
                self.spec(&inner, nested)
            }
            None if required => self.missing(body, name),
            None => msgpack::Value::Null,
        }
    }

    fn block_attrs(&mut self, body: &Body, name: &str, ty: &Type, required: bool) -> msgpack::Value {
        let bodies = self.bodies(body, name);
        self.only_one(name, bodies.iter().map(|(_, span)| span));
        match bodies.into_iter().next() {
            Some((inner, _)) => self.map_of(&inner, ty),
            None if required => self.missing(body, name),
            None => msgpack::Value::Null,
        }
    }

    fn block_list(&mut self, body: &Body, name: &str, (min, max): (u64, u64), nested: &Spec) -> msgpack::Value {
        let bodies = self.bodies(body, name);
        let count = bodies.len() as u64;
        if count < min {
            self.problem(
                &body.span,
                format!("Insufficient {name} blocks; At least {min} {name:?} blocks are required."),
            );
        }
        if max > 0 && count > max {
            let message = format!("Too many {name} blocks; No more than {max} {name:?} blocks are allowed.");
            let additional = usize::try_from(max).ok().and_then(|max| bodies.get(max));
            self.problem(additional.map_or(&body.span, |(_, span)| span), message);
        }
        let list = bodies.into_iter().map(|(inner, _)| {
            self.unknown(&inner, nested);
            self.spec(&inner, nested)
        });
        msgpack::Value::List(list.collect())
    }

    fn block_map(&mut self, body: &Body, name: &str, labels: usize, nested: &Spec) -> msgpack::Value {
        let mut root = BTreeMap::new();
        for block in body.blocks(name) {
            if block.labels.len() != labels {
                self.problem(&block.span, format!("{name} needs {labels} labels"));
                continue;
            }
            self.unknown(&block.body, nested);
            let value = self.spec(&block.body, nested);
            insert(&mut root, &block.labels, value);
        }
        msgpack::Value::Map(root)
    }

    /// The bodies of a block's name, also where it is written as an object or a list of objects.
    fn bodies(&mut self, body: &Body, name: &str) -> Vec<(Body, Range<usize>)> {
        if let Some(attribute) = body.attribute(name) {
            let span = &attribute.value_span;
            let items = match &attribute.value {
                Value::Array(items) => items.clone(),
                Value::Null => Vec::new(),
                other => vec![other.clone()],
            };
            return items.iter().filter_map(|item| Some((self.as_body(item, span)?, span.clone()))).collect();
        }
        self.no_labels(&body.blocks(name).collect::<Vec<_>>());
        body.blocks(name).map(|block| (block.body.clone(), block.span.clone())).collect()
    }

    fn as_body(&mut self, value: &Value, span: &Range<usize>) -> Option<Body> {
        let Value::Object(fields) = value else {
            self.problem(span, format!("a block or an object is needed, this is {value}"));
            return None;
        };
        let attributes = fields.iter().map(|(name, value)| Attribute {
            name: name.clone(),
            value: value.clone(),
            span: span.clone(),
            value_span: span.clone(),
            references: Vec::new(),
            failed: false,
        });
        Some(Body { attributes: attributes.collect(), blocks: Vec::new(), span: span.clone() })
    }

    fn convert(&mut self, value: &Value, ty: &Type, span: &Range<usize>) -> msgpack::Value {
        match (ty, value) {
            (_, Value::Null) => msgpack::Value::Null,
            (Type::String, Value::String(text)) => msgpack::Value::String(interpolate(text, self.resolve)),
            (Type::String, Value::Number(number)) => msgpack::Value::String(match from_number(number) {
                msgpack::Value::Int(whole) => whole.to_string(),
                _ => number.to_string(),
            }),
            (Type::String, Value::Bool(truth)) => msgpack::Value::String(truth.to_string()),
            (Type::Number, Value::Number(number)) => from_number(number),
            (Type::Number, Value::String(text)) => {
                let text = interpolate(text, self.resolve);
                let float = || text.parse().ok().and_then(hcl::Number::from_f64);
                match text.parse::<i64>().ok().map(hcl::Number::from).or_else(float) {
                    Some(number) => from_number(&number),
                    None => self.wrong("a number", value, span),
                }
            }
            (Type::Bool, Value::Bool(truth)) => msgpack::Value::Bool(*truth),
            (Type::Bool, Value::String(text)) => match interpolate(text, self.resolve).as_str() {
                "true" | "1" => msgpack::Value::Bool(true),
                "false" | "0" => msgpack::Value::Bool(false),
                _ => self.wrong("a bool", value, span),
            },
            (Type::Any, value) => self.any(value),
            (Type::List(item), Value::Array(items)) => {
                msgpack::Value::List(items.iter().map(|value| self.convert(value, item, span)).collect())
            }
            (Type::Set(item), Value::Array(items)) => {
                let mut distinct = Vec::new();
                for value in items {
                    let value = self.convert(value, item, span);
                    if !distinct.contains(&value) {
                        distinct.push(value);
                    }
                }
                msgpack::Value::List(distinct)
            }
            // One map stands for a list of one.
            (Type::List(item) | Type::Set(item), Value::Object(_)) if matches!(**item, Type::Map(_)) => {
                msgpack::Value::List(vec![self.convert(value, item, span)])
            }
            (Type::Map(item), Value::Object(fields)) => {
                let named = |name: &str| interpolate(name, self.resolve);
                let fields = fields.iter().map(|(name, value)| (named(name), self.convert(value, item, span)));
                msgpack::Value::Map(fields.collect())
            }
            (Type::String, _) => self.wrong("a string", value, span),
            (Type::Number, _) => self.wrong("a number", value, span),
            (Type::Bool, _) => self.wrong("a bool", value, span),
            (Type::List(_) | Type::Set(_), _) => self.wrong("a list", value, span),
            (Type::Map(_), _) => self.wrong("a map", value, span),
        }
    }

    fn wrong(&mut self, needed: &str, value: &Value, span: &Range<usize>) -> msgpack::Value {
        self.problem(span, format!("Incorrect attribute value type; {needed} is needed, this is {value}"));
        msgpack::Value::Null
    }

    fn any(&self, value: &Value) -> msgpack::Value {
        match value {
            Value::Null => msgpack::Value::Null,
            Value::Bool(truth) => msgpack::Value::Bool(*truth),
            Value::Number(number) => from_number(number),
            Value::String(text) => msgpack::Value::String(interpolate(text, self.resolve)),
            Value::Array(items) => msgpack::Value::List(items.iter().map(|item| self.any(item)).collect()),
            Value::Object(fields) => {
                msgpack::Value::Map(fields.iter().map(|(name, value)| (name.clone(), self.any(value))).collect())
            }
        }
    }
}

fn insert(map: &mut BTreeMap<String, msgpack::Value>, labels: &[String], value: msgpack::Value) {
    match labels {
        [] => {}
        [last] => {
            map.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = map.entry(first.clone()).or_insert_with(|| msgpack::Value::Map(BTreeMap::new()));
            if let msgpack::Value::Map(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn from_number(number: &hcl::Number) -> msgpack::Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(int), _) => msgpack::Value::Int(int),
        // cty does not distinguish 1.0 from 1.
        (None, Some(float)) if number.is_f64() => match format!("{float:.0}").parse() {
            Ok(whole) if float.fract() == 0.0 => msgpack::Value::Int(whole),
            _ => msgpack::Value::Float(float),
        },
        // Beyond i64 the decimal form keeps every digit.
        _ => msgpack::Value::String(number.to_string()),
    }
}

/// A literal of a schema. One that cannot be read is a mistake of the driver's author, and decodes to nil.
fn literal(expression: &str) -> msgpack::Value {
    use hcl::eval::Evaluate;
    let value = hcl_edit::parser::parse_expr(expression).ok();
    let value = value.and_then(|value| hcl::Expression::from(value).evaluate(&hcl::eval::Context::new()).ok());
    let decoder = Decoder { resolve: &|_| None, problems: Vec::new() };
    value.map_or(msgpack::Value::Null, |value| decoder.any(&value))
}
