//! Reads a decoded configuration field by field, and collects every error with its path.

use std::{cell::RefCell, collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use nomad_plugin::{
    duration::parse_go_duration,
    msgpack::{Value, decode},
};

pub(super) const ONE_MINUTE: Duration = Duration::from_secs(60);

/// What is wrong with one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The path, for example `mount[0].type`; empty if the message names it.
    pub path: String,
    /// The message.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The errors found so far, shared by all readers of one configuration.
#[derive(Default)]
pub(super) struct Findings(RefCell<Vec<ConfigError>>);

impl Findings {
    pub(super) fn add(&self, path: impl Into<String>, message: impl Into<String>) {
        self.0.borrow_mut().push(ConfigError { path: path.into(), message: message.into() });
    }

    /// The value, if there are no errors.
    pub(super) fn or<T>(self, value: T) -> Result<T, ConfigErrors> {
        let errors = self.0.into_inner();
        if errors.is_empty() { Ok(value) } else { Err(ConfigErrors(errors)) }
    }
}

/// The fields of a map in msgpack.
pub(super) fn fields(bytes: &[u8]) -> Result<BTreeMap<String, Value>, ConfigErrors> {
    let failed = |message: String| {
        let message = format!("failed to decode driver config: {message}");
        ConfigErrors(vec![ConfigError { path: String::new(), message }])
    };
    match decode(bytes).map_err(|error| failed(error.to_string()))? {
        Value::Map(fields) => Ok(fields),
        Value::Null => Ok(BTreeMap::new()),
        other => Err(failed(format!("an object is needed, this is {}", kind(&other)))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a bool",
        Value::Int(_) => "a number",
        Value::Float(_) => "a fraction",
        Value::String(_) => "a string",
        Value::List(_) => "a list",
        Value::Map(_) => "an object",
    }
}

/// One object of a configuration. Unknown keys are ignored.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    fields: &'a BTreeMap<String, Value>,
    prefix: String,
    findings: &'a Findings,
}

impl<'a> Reader<'a> {
    pub(super) fn new(fields: &'a BTreeMap<String, Value>, findings: &'a Findings) -> Self {
        Self { fields, prefix: String::new(), findings }
    }

    /// The path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| **value != Value::Null)
    }

    /// Whether a field is set: hosts fill in what a job omits.
    pub(super) fn says(&self, name: &str) -> bool {
        fn says(value: &Value) -> bool {
            match value {
                Value::Null | Value::Bool(false) | Value::Int(0) => false,
                Value::String(text) => !text.is_empty(),
                Value::List(items) => items.iter().any(says),
                Value::Map(fields) => fields.values().any(says),
                Value::Bool(true) | Value::Int(_) | Value::Float(_) => true,
            }
        }
        self.get(name).is_some_and(says)
    }

    fn wrong(&self, path: &str, needed: &str, value: &Value) {
        let message = format!("failed to decode driver config: {path}: {needed} is needed, this is {}", kind(value));
        self.findings.add("", message);
    }

    /// Reports a problem with a field whose message names it; the enclosing block is prepended.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.findings.add(self.prefix.trim_end_matches('.'), message);
    }

    /// Reports a problem in the built-in driver's words, which name the option.
    pub(super) fn problem_in_known_words(&self, message: impl Into<String>) {
        self.findings.add("", message);
    }

    /// Reports a problem with a field, with its path.
    pub(super) fn problem_at(&self, name: &str, message: impl Into<String>) {
        self.findings.add(self.path(name), message);
    }

    /// Text; empty is unset.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.scalar(self.get(name)?, &self.path(name))?;
        (!text.is_empty()).then_some(text)
    }

    fn scalar(&self, value: &Value, path: &str) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Null => Some(String::new()),
            other => {
                self.wrong(path, "a string", other);
                None
            }
        }
    }

    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Bool(truth) => Some(*truth),
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            other => {
                self.wrong(&self.path(name), "a bool", other);
                None
            }
        }
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.whole(self.get(name)?, &self.path(name))
    }

    fn whole(&self, value: &Value, path: &str) -> Option<i64> {
        match value {
            Value::Int(int) => Some(*int),
            other => {
                self.wrong(path, "a whole number", other);
                None
            }
        }
    }

    /// A non-negative number.
    pub(super) fn uint(&self, name: &str) -> Option<i64> {
        let int = self.int(name)?;
        if int < 0 {
            self.problem_at(name, format!("must not be negative, this is {int}"));
            return None;
        }
        Some(int)
    }

    /// A number between two others, both included.
    pub(super) fn within(&self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let int = self.int(name)?;
        if !range.contains(&int) {
            let (least, most) = (range.start(), range.end());
            self.problem_at(name, format!("must be between {least} and {most}, this is {int}"));
            return None;
        }
        Some(int)
    }

    /// A number of attempts, at most 32 bits.
    pub(super) fn attempts(&self, name: &str) -> Option<u32> {
        self.within(name, 0..=u32::MAX.into()).and_then(|attempts| u32::try_from(attempts).ok())
    }

    /// A limit; 0 and -1, Docker's "no limit", count as unset.
    pub(super) fn limit(&self, name: &str) -> Option<i64> {
        let limit = self.int(name)?;
        if limit < -1 {
            self.problem_at(name, format!("must be -1 or more, this is {limit}"));
        }
        (limit > 0).then_some(limit)
    }

    /// A duration; unset or empty yields the default.
    pub(super) fn time(&self, name: &str, default: Duration) -> Duration {
        let Some(text) = self.text(name) else { return default };
        parse_go_duration(&text).unwrap_or_else(|error| {
            self.problem(format!("failed to parse '{name}' duration: {error}"));
            default
        })
    }

    pub(super) fn at_least_a_minute(&self, name: &str, default: Duration) -> Duration {
        let time = self.time(name, default);
        if time < ONE_MINUTE {
            self.problem(format!("{name} is less than minimum, 1m0s"));
        }
        time
    }

    /// A list of texts; `None` is unset.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let path = self.path(name);
        match self.get(name)? {
            Value::List(items) => {
                let items = items.iter().enumerate();
                Some(items.filter_map(|(index, item)| self.scalar(item, &format!("{path}[{index}]"))).collect())
            }
            other => {
                self.wrong(&path, "a list of strings", other);
                None
            }
        }
    }

    /// A list of absolute paths; `None` is unset.
    pub(super) fn directories(&self, name: &str) -> Option<Vec<PathBuf>> {
        let directories: Vec<PathBuf> = self.texts(name)?.into_iter().map(PathBuf::from).collect();
        for (index, directory) in directories.iter().enumerate().filter(|(_, directory)| !directory.is_absolute()) {
            let problem = format!("an absolute path is needed, this is {:?}", directory.display().to_string());
            self.problem_at(&format!("{name}[{index}]"), problem);
        }
        Some(directories)
    }

    /// A map, or a list of maps of which later ones win. `None` is unset; an empty list is set and empty.
    fn merged(&self, name: &str) -> Option<BTreeMap<String, &'a Value>> {
        let path = self.path(name);
        let mut merged = BTreeMap::new();
        let mut add = |value: &'a Value| match value {
            Value::Map(map) => merged.extend(map.iter().map(|(key, value)| (key.clone(), value))),
            Value::Null => {}
            other => self.wrong(&path, "a map", other),
        };
        match self.get(name)? {
            Value::List(maps) => maps.iter().for_each(add),
            other => add(other),
        }
        Some(merged)
    }

    pub(super) fn text_map(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let path = self.path(name);
        let entries = self.merged(name)?.into_iter();
        Some(
            entries
                .filter_map(|(key, value)| {
                    let text = self.scalar(value, &format!("{path}.{key}"))?;
                    Some((key, text))
                })
                .collect(),
        )
    }

    pub(super) fn int_map(&self, name: &str) -> Option<BTreeMap<String, i64>> {
        let path = self.path(name);
        let entries = self.merged(name)?.into_iter();
        Some(
            entries
                .filter_map(|(key, value)| {
                    let whole = self.whole(value, &format!("{path}.{key}"))?;
                    Some((key, whole))
                })
                .collect(),
        )
    }

    /// A block's fields.
    pub(super) fn block(&self, name: &str) -> Option<Self> {
        self.nested(self.get(name)?, &self.path(name))
    }

    /// The fields of each block with this name.
    pub(super) fn blocks(&self, name: &str) -> Vec<Self> {
        let path = self.path(name);
        match self.get(name) {
            None => Vec::new(),
            Some(Value::List(items)) => {
                let items = items.iter().enumerate();
                items.filter_map(|(index, item)| self.nested(item, &format!("{path}[{index}]"))).collect()
            }
            Some(other) => self.nested(other, &path).into_iter().collect(),
        }
    }

    fn nested(&self, value: &'a Value, path: &str) -> Option<Self> {
        match value {
            Value::Map(fields) => Some(Self { fields, prefix: format!("{path}."), findings: self.findings }),
            Value::Null => None,
            other => {
                self.wrong(path, "a block", other);
                None
            }
        }
    }
}
