//! Which fields a real Nomad agent sets in its requests, from the recordings of one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::LazyLock,
};

use prost_reflect::{DynamicMessage, ReflectMessage, Value};

use crate::messages::{decode, method};

/// In how many messages a field could be, and in how many it was set.
#[derive(Clone, Copy, Default)]
struct Observed {
    all: u32,
    set: u32,
}

/// The fields of the requests, by call and path.
static FIELDS: LazyLock<BTreeMap<String, BTreeMap<String, Observed>>> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/agent/fields.tsv");
    let mut calls = BTreeMap::<_, BTreeMap<_, _>>::new();
    for line in std::fs::read_to_string(file).unwrap().lines().skip(1) {
        let columns: Vec<_> = line.split('\t').collect();
        // What is in a configuration is the job's.
        if columns[1] == "request" && !columns[2].contains('/') {
            let seen = Observed { all: columns[3].parse().unwrap(), set: columns[4].parse().unwrap() };
            calls.entry(columns[0].to_owned()).or_default().insert(columns[2].to_owned(), seen);
        }
    }
    calls
});

/// What is set in a request and no agent sets, and what is not set and every agent sets. The call by its short name,
/// such as `StartTask`.
pub fn unlike(call: &str, request: &DynamicMessage) -> Vec<String> {
    let Some(known) = FIELDS.get(call) else { return vec![format!("no agent calls {call}")] };
    let mut set = BTreeSet::from([String::new()]);
    collect(request, "", &mut set);
    let never =
        |field: &&String| !field.is_empty() && !is_key(field) && known.get(*field).is_none_or(|seen| seen.set == 0);
    let mut unlike: Vec<_> =
        set.iter().filter(never).map(|field| format!("{call} sets {field}, which no agent does")).collect();
    for (field, seen) in known {
        let of = whole(field);
        let all = if is_key(field) { known[&of].all } else { seen.all };
        // Of a duration, zero is a value as well.
        let always = seen.set == all && all > 0 && !field.ends_with(".seconds") && field != "(message)";
        if always && set.contains(&of) && !set.contains(field) {
            unlike.push(format!("{call} does not set {field}, which every agent does"));
        }
    }
    unlike
}

/// Whether a path is that of a map's key.
fn is_key(field: &str) -> bool {
    field.ends_with('}') && !field.ends_with("{}")
}

/// The path of what a field is part of; empty for the message itself.
fn whole(field: &str) -> String {
    if is_key(field) {
        return format!("{}{{}}", &field[..field.rfind('{').unwrap()]);
    }
    field.rfind('.').map_or_else(String::new, |end| field[..end].to_owned())
}

fn collect(message: &DynamicMessage, prefix: &str, set: &mut BTreeSet<String>) {
    for field in message.descriptor().fields().filter(|field| message.has_field(field)) {
        let at = format!("{prefix}{}", field.name());
        match &*message.get_field(&field) {
            Value::Map(entries) => {
                set.insert(format!("{at}{{}}"));
                set.extend(entries.keys().map(|key| format!("{at}{{{}}}", key.as_str().unwrap_or_default())));
            }
            Value::List(items) => {
                set.insert(format!("{at}[]"));
                for item in items.iter().filter_map(Value::as_message) {
                    collect(item, &format!("{at}[]."), set);
                }
            }
            Value::Message(part) => {
                collect(part, &format!("{at}."), set);
                set.insert(at);
            }
            _ => drop(set.insert(at)),
        }
    }
}

/// The request that recovers a task, from the handle that a host keeps of it.
pub fn recovery_of(handle: &[u8]) -> DynamicMessage {
    let mut request = decode(method("Driver.RecoverTask").input(), &[]);
    let field = request.descriptor().get_field_by_name("handle").unwrap();
    let handle = decode(field.kind().as_message().unwrap().clone(), handle);
    request.set_field(&field, Value::Message(handle));
    request
}
