//! Size limits for a task's configuration and for each option: one table for all options.
//!
//! No legitimate job comes near them. Anything larger is rejected before it is parsed, so no option needs a limit of its own.

use std::collections::BTreeMap;

use nomad_plugin::msgpack::Value;

use super::reader::{ConfigError, ConfigErrors};

/// The encoded `config` block, in bytes. More than a kernel accepts for a program's arguments and environment.
pub(super) const CONFIG: usize = 2 << 20;
/// One option including its nested values: bytes of names and texts.
pub(super) const OPTION: usize = 1 << 20;
/// One text, in bytes: Linux's limit for a single program argument.
pub(super) const TEXT: usize = 128 << 10;
/// The name of an entry, such as a label, in bytes.
pub(super) const NAME: usize = 4 << 10;
/// The elements of a list or the entries of a map.
pub(super) const ELEMENTS: usize = 1024;
/// The elements of [`LONG_LISTS`].
pub(super) const LONG: usize = 1 << 14;
/// Lists that are long in legitimate jobs.
pub(super) const LONG_LISTS: [&str; 2] = ["args", "entrypoint"];
/// The maximum nesting depth of blocks, maps and lists.
pub(super) const DEPTH: usize = 8;
/// A task's environment, in bytes of names and values.
pub(super) const ENVIRONMENT: usize = 4 << 20;

/// How many of the oversized values are named.
const NAMED: usize = 8;

/// Checks the bytes of a configuration.
pub(super) fn check_bytes(bytes: &[u8]) -> Result<(), ConfigErrors> {
    let mut large = Large::default();
    large.check("config", bytes.len(), CONFIG, "bytes");
    large.none()
}

/// Checks all options.
pub(super) fn check(options: &BTreeMap<String, Value>) -> Result<(), ConfigErrors> {
    let mut large = Large::default();
    large.check("config", options.len(), ELEMENTS, "options");
    for (name, value) in options {
        let path = joined("", name);
        let bytes = large.walk(&path, value, 1);
        large.check(&path, bytes, OPTION, "bytes");
    }
    large.none()
}

/// Checks a task's environment.
pub fn check_environment(environment: &BTreeMap<String, String>) -> Result<(), ConfigErrors> {
    let mut large = Large::default();
    let bytes = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
    large.check("env", bytes, ENVIRONMENT, "bytes");
    large.none()
}

/// The oversized values found.
#[derive(Default)]
struct Large(Vec<ConfigError>);

impl Large {
    fn check(&mut self, path: &str, is: usize, most: usize, what: &str) {
        if is > most {
            self.add(path, format!("must be no more than {most} {what}, this is {is}"));
        }
    }

    fn add(&mut self, path: &str, message: String) {
        if self.0.len() < NAMED {
            self.0.push(ConfigError { path: path.to_owned(), message });
        }
    }

    /// Checks a value recursively; returns its size in bytes of names and texts.
    fn walk(&mut self, path: &str, value: &Value, depth: usize) -> usize {
        if depth > DEPTH {
            self.add(path, format!("must be nested no deeper than {DEPTH} levels"));
            return 0;
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
            Value::String(text) => {
                self.check(path, text.len(), TEXT, "bytes");
                text.len()
            }
            Value::List(items) => {
                let most = if LONG_LISTS.contains(&path) { LONG } else { ELEMENTS };
                self.check(path, items.len(), most, "elements");
                let items = items.iter().enumerate();
                items.map(|(index, item)| self.walk(&format!("{path}[{index}]"), item, depth + 1)).sum()
            }
            Value::Map(entries) => {
                self.check(path, entries.len(), ELEMENTS, "entries");
                let walk = |(name, value): (&String, &Value)| {
                    let path = joined(path, name);
                    self.check(&path, name.len(), NAME, "bytes in its name");
                    name.len() + self.walk(&path, value, depth + 1)
                };
                entries.iter().map(walk).sum()
            }
        }
    }

    fn none(self) -> Result<(), ConfigErrors> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigErrors(self.0)) }
    }
}

/// The path of an entry; its name is cut to a readable length.
fn joined(path: &str, name: &str) -> String {
    let shown: String = name.chars().take(64).collect();
    if path.is_empty() { shown } else { format!("{path}.{shown}") }
}

#[cfg(test)]
mod tests {
    use nomad_plugin::{
        hclspec::{Spec, Type},
        msgpack::encode,
    };

    use super::*;
    use crate::config::{TaskOptions, task_schema};

    fn text(bytes: usize) -> Value {
        Value::String("x".repeat(bytes))
    }

    fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
        Value::Map(entries.into_iter().collect())
    }

    /// Oversized values of a type, with the expected message.
    fn too_large(ty: &Type) -> Vec<(Value, &'static str)> {
        match ty {
            Type::List(of) => {
                let item = if matches!(**of, Type::Map(_)) { map([]) } else { text(0) };
                let mut all = vec![
                    (Value::List(vec![item; LONG + 1]), "elements"),
                    (Value::List(vec![text(TEXT); OPTION / TEXT + 1]), "bytes"),
                ];
                all.extend(too_large(of).into_iter().map(|(value, what)| (Value::List(vec![value]), what)));
                all
            }
            Type::Map(_) => vec![
                (map((0..=ELEMENTS).map(|name| (name.to_string(), text(0)))), "entries"),
                (map([("x".repeat(NAME + 1), text(0))]), "bytes in its name"),
                (map([("a".to_owned(), text(TEXT + 1))]), "bytes"),
            ],
            _ => vec![(text(TEXT + 1), "bytes")],
        }
    }

    /// Every option of a schema by its path, made too large in each way.
    fn attacks(path: &str, spec: &Spec) -> Vec<(String, Value, &'static str)> {
        let inside = |name: &str, nested: &Spec, wrap: fn(Value) -> Value| {
            let Spec::Object(children) = nested else { return Vec::new() };
            let of_child = |(child, spec): (&String, &Spec)| {
                let wrap = |(path, value, what)| (path, wrap(map([(child.clone(), value)])), what);
                attacks(&joined(name, child), spec).into_iter().map(wrap).collect::<Vec<_>>()
            };
            children.iter().flat_map(of_child).collect::<Vec<_>>()
        };
        match spec {
            Spec::Attr { ty, .. } => {
                too_large(ty).into_iter().map(|(value, what)| (path.to_owned(), value, what)).collect()
            }
            Spec::Block { nested, .. } => inside(path, nested, |value| value),
            Spec::BlockList { nested, .. } | Spec::BlockSet { nested, .. } => {
                let mut all = inside(path, nested, |value| Value::List(vec![value]));
                all.push((path.to_owned(), Value::List(vec![map([]); ELEMENTS + 1]), "elements"));
                all
            }
            Spec::BlockAttrs { .. } => too_large(&Type::Map(Box::new(Type::String)))
                .into_iter()
                .map(|(value, what)| (path.to_owned(), value, what))
                .collect(),
            Spec::Default { primary, .. } => attacks(path, primary),
            other => panic!("{path}: nothing is known of {other:?}"),
        }
    }

    #[test]
    fn every_option_of_the_schema_is_refused_by_its_path_where_it_is_too_large() {
        let Spec::Object(options) = task_schema() else { panic!("it is an object") };
        let mut count = 0;

        for (name, spec) in &options {
            let attacks = attacks(name, spec);
            assert!(!attacks.is_empty(), "{name}");
            for (path, value, what) in attacks {
                let config = map([("image".to_owned(), text(1)), (name.clone(), value)]);
                let error = TaskOptions::parse(&encode(&config)).expect_err(&path);
                let ConfigError { path: said, message } = &error.0[0];
                assert!(said.starts_with(name) && message.starts_with("must be no more than "), "{path}: {error}");
                assert!(message.contains(what), "{path}: {error}");
                count += 1;
            }
        }

        assert!(count > 100, "{count}");
    }

    #[test]
    fn what_is_as_large_as_it_may_be_is_read() {
        let config = |name: &str, value: Value| {
            TaskOptions::parse(&encode(&map([("image".to_owned(), text(1)), (name.to_owned(), value)])))
        };

        assert_eq!(config("command", text(TEXT)).unwrap().command.unwrap().len(), TEXT);
        assert_eq!(config("args", Value::List(vec![text(OPTION / LONG); LONG])).unwrap().args.len(), LONG);
        assert_eq!(config("cap_add", Value::List(vec![text(1); ELEMENTS])).unwrap().cap_add.len(), ELEMENTS);
    }

    #[test]
    fn the_whole_and_what_is_in_no_schema_are_bounded_too() {
        let parse = |value: &Value| TaskOptions::parse(&encode(value)).unwrap_err().to_string();
        let image = || ("image".to_owned(), text(1));
        let deep = (0..20).fold(text(1), |value, _| Value::List(vec![value]));
        let options = (0..=ELEMENTS).map(|name| (name.to_string(), Value::Null));
        let whole = (0..20).map(|name| (name.to_string(), text(TEXT)));

        let said = parse(&map([image(), ("none".to_owned(), deep)]));
        assert!(said.ends_with("must be nested no deeper than 8 levels"), "{said}");
        assert!(parse(&map(options)).starts_with("config: must be no more than 1024 options"));
        assert!(parse(&map(whole)).starts_with("config: must be no more than 2097152 bytes"));
        let named = parse(&map([image(), ("x".repeat(1 << 20), text(TEXT + 1))]));
        assert!(named.len() < 1000, "{named}");
    }

    #[test]
    fn an_environment_that_no_program_could_have_is_refused() {
        let of = |bytes: usize| BTreeMap::from([("A".to_owned(), "x".repeat(bytes - 1))]);

        assert!(check_environment(&of(ENVIRONMENT)).is_ok());
        let said = check_environment(&of(ENVIRONMENT + 1)).unwrap_err().to_string();
        assert_eq!(said, "env: must be no more than 4194304 bytes, this is 4194305");
    }
}
