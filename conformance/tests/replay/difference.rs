//! Where the driver's answers are not those of a recording, field by field.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::LazyLock,
};

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::{
    answers::{Answers, Exchange, distinct},
    recording::Ending,
    substitution::Substitution,
    terminal,
};

/// What is in the place of a field that is not there.
const NOTHING: &str = "(nothing)";

/// What is in the place of a message: that it is there.
const MESSAGE: &str = "(message)";

/// A field that is not as recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    pub(crate) call: String,
    pub(crate) field: String,
    pub(crate) recorded: String,
    pub(crate) ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}\n  recorded: {}\n  ours:     {}", self.call, self.field, self.recorded, self.ours)
    }
}

/// All differences, each once.
pub(crate) fn all(answers: &Answers, substitution: &Substitution) -> BTreeSet<Difference> {
    let mut found = BTreeSet::new();
    for (what, recorded, ours) in &answers.processes {
        let [recorded, ours] = [recorded, ours].map(|side| fields(&json!({ "": side })));
        compare(&mut found, what, &recorded, &ours);
    }
    let mut before = BTreeMap::new();
    for exchange in answers.calls.values() {
        let (recorded, ours) = sides(exchange, &mut before);
        let [recorded, ours] = [recorded, ours].map(|side| fields(&translated(side, substitution)));
        compare(&mut found, &exchange.call, &recorded, &ours);
    }
    found
}

/// Both sides of a call in a form that depends on no clock and no race.
fn sides<'a>(exchange: &'a Exchange, before: &mut BTreeMap<&'a str, Value>) -> (Value, Value) {
    let (recorded, ours) = (&exchange.recorded, &exchange.ours);
    match exchange.call.as_str() {
        "Driver.Fingerprint" => list(&distinct(&recorded.0), &distinct(&ours.0)),
        "Driver.TaskEvents" => (events(&recorded.0), events(&ours.0)),
        // A quick task ends before its first sample.
        "Driver.TaskStats" if recorded.0.is_empty() || ours.0.is_empty() => (Value::Null, Value::Null),
        "Driver.TaskStats" => (statistics(&recorded.0), statistics(&ours.0)),
        "Driver.ExecTaskStreaming" => {
            let (mut recorded_, mut ours_) = (terminal::output(&recorded.0), terminal::output(&ours.0));
            if recorded.1.is_none() && terminal::has(&ours_, &recorded_) {
                // The agent gave it up at some moment.
                ours_.clone_from(&recorded_);
            }
            for (output, end) in [(&mut recorded_, &recorded.1), (&mut ours_, &ours.1)] {
                output.insert("end".into(), recorded.1.as_ref().map_or(Value::Null, |_| status(end.as_ref())));
            }
            (recorded_.into(), ours_.into())
        }
        // The process ends before its answer, or after it.
        "GRPCController.Shutdown" | "GRPCBroker.StartStream" | "GRPCStdio.StreamStdio" => (Value::Null, Value::Null),
        // The plugin was killed, or the agent was.
        _ if recorded.1.as_ref().is_some_and(|end| end.text.starts_with("error reading from server")) => {
            (Value::Null, Value::Null)
        }
        _ if recorded.0.is_empty() && recorded.1.is_none() => (Value::Null, Value::Null),
        // The schema is compared where a recording has it in full.
        _ if recorded.0.first().is_some_and(|answer| answer == "(as in 02)") => (Value::Null, Value::Null),
        call => {
            let mut answer = recorded.0.first().cloned().unwrap_or_default();
            if answer == "(as before)" {
                answer = before[call].clone();
            } else if answer["handle"]["config"] == "(as in the request)" {
                answer["handle"]["config"] = exchange.request["task"].clone();
            }
            before.insert(call, answer.clone());
            let side = |answer: Option<Value>, end| json!({ "answer": answer, "end": end });
            let mut ours_ = side(ours.0.first().cloned(), ended(ours.1.as_ref()));
            let mut recorded_ = side((!recorded.0.is_empty()).then_some(answer), ended(recorded.1.as_ref()));
            for side in [&mut ours_, &mut recorded_] {
                // The driver's alone: an agent does not look into it.
                if let Some(state) = side.pointer_mut("/answer/handle/driver_state") {
                    *state = state.is_object().into();
                }
                // One that ends by itself may have ended, and then has none.
                if !exchange.is_stopped
                    && let Some(network) = side.pointer_mut("/answer/network_override")
                {
                    network.as_object_mut().unwrap().remove("addr");
                }
            }
            (recorded_, ours_)
        }
    }
}

fn list(recorded: &[Value], ours: &[Value]) -> (Value, Value) {
    (recorded.into(), ours.into())
}

/// Events by their message, each time it came. When they came is not compared.
fn events(answers: &[Value]) -> Value {
    let mut events = Map::new();
    for event in answers {
        let mut event = event.clone();
        let message = event["message"].take().as_str().unwrap_or_default().to_owned();
        event["timestamp"] = event["timestamp"].is_string().into();
        let same = events.entry(message).or_insert_with(|| Value::Array(Vec::new()));
        same.as_array_mut().unwrap().push(event);
    }
    events.into()
}

/// Which values are measured; the values are the moment's. A stream of a task that ends may end either way.
fn statistics(samples: &[Value]) -> Value {
    let sample = &samples[0];
    let usage = &sample["stats"]["agg_resource_usage"];
    let measured = |part: &str| {
        let mut fields = usage[part]["measured_fields"].as_array().cloned().unwrap_or_default();
        fields.sort_by_key(ToString::to_string);
        fields
    };
    json!({
        "cpu": measured("cpu"),
        "memory": measured("memory"),
        "has a timestamp": sample["stats"]["timestamp"].is_string(),
    })
}

/// The end of a call with one answer: nothing where that came.
fn ended(end: Option<&Ending>) -> Value {
    if end.is_some_and(|end| end.code == "OK") { Value::Null } else { status(end) }
}

fn status(end: Option<&Ending>) -> Value {
    end.map_or(Value::Null, |end| {
        let recoverable = end.recoverable.as_ref().map(|bytes| !bytes.is_empty());
        json!({ "code": end.code, "text": end.text, "recoverable": recoverable })
    })
}

/// Our texts in the words of the recording.
fn translated(value: Value, substitution: &Substitution) -> Value {
    match value {
        Value::String(text) => substitution.recorded(&text).into(),
        Value::Array(items) => items.into_iter().map(|item| translated(item, substitution)).collect(),
        Value::Object(fields) => {
            let each = fields.into_iter();
            Value::Object(
                each.map(|(name, field)| (substitution.recorded(&name), translated(field, substitution))).collect(),
            )
        }
        other => other,
    }
}

/// The leaves of a message by their paths.
fn fields(message: &Value) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    collect(message, String::new(), &mut fields);
    fields
}

fn collect(value: &Value, path: String, fields: &mut BTreeMap<String, String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Null => {}
        Value::Object(parts) => {
            parts.iter().for_each(|(name, part)| collect(part, below(name), fields));
            fields.insert(path, MESSAGE.to_owned());
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            fields.insert(path.clone(), MESSAGE.to_owned());
            items.iter().enumerate().for_each(|(number, item)| collect(item, below(&number.to_string()), fields));
        }
        // An expression, however it is written.
        Value::String(text) if path.ends_with(".literal.value") => {
            fields.insert(path, text.chars().filter(|char| !char.is_whitespace() && *char != ',').collect());
        }
        // What the engine is.
        Value::String(_)
            if path.ends_with("docker.version.string_val") || path.ends_with("docker.runtimes.string_val") =>
        {
            fields.insert(path, "<the engine's>".to_owned());
        }
        Value::String(text) => drop(fields.insert(path, steady(text))),
        other => drop(fields.insert(path, other.to_string())),
    }
}

/// What is new in each engine and each run, and its placeholder.
static NEW_EACH_TIME: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let patterns = [
        ("[0-9a-f]{64}", "<id>"),
        ("unix[|][^|]+", "unix|<socket>"),
        ("172[.][0-9]+[.][0-9]+[.][0-9]+", "<address>"),
        ("/[a-z/]*/netns/[0-9a-z-]+", "<namespace>"),
    ];
    patterns.map(|(pattern, mark)| (Regex::new(pattern).unwrap(), mark)).into()
});

fn steady(text: &str) -> String {
    NEW_EACH_TIME.iter().fold(text.to_owned(), |text, (pattern, mark)| pattern.replace_all(&text, *mark).into_owned())
}

fn compare(
    found: &mut BTreeSet<Difference>,
    call: &str,
    recorded: &BTreeMap<String, String>,
    ours: &BTreeMap<String, String>,
) {
    let names: BTreeSet<_> = recorded.keys().chain(ours.keys()).collect();
    // Of a message that is not there, its parts are not named.
    let mut missing = None;
    for field in names {
        if missing.as_ref().is_some_and(|missing: &String| field.starts_with(missing)) {
            continue;
        }
        let value = |side: &BTreeMap<String, String>| side.get(field).map_or(NOTHING, String::as_str).to_owned();
        let difference =
            Difference { call: call.to_owned(), field: field.clone(), recorded: value(recorded), ours: value(ours) };
        if difference.recorded != difference.ours {
            if difference.ours == NOTHING {
                missing = Some(format!("{field}."));
            }
            found.insert(difference);
        }
    }
}
