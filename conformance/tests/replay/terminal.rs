//! What a command in a task wrote, without what depends on time: how it was cut into messages, and how often a shell
//! redrew its line.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// The answers of an exec as one object: what came of each stream, whether it was closed, and the end.
pub(crate) fn output(answers: &[Value]) -> Map<String, Value> {
    let mut output = Map::new();
    for answer in answers {
        for stream in ["stdout", "stderr"] {
            let part = &answer[stream];
            if let Some(data) = part["data"].as_str() {
                let text = String::from_utf8_lossy(&STANDARD.decode(data).unwrap()).into_owned();
                let before = output.get(stream).and_then(Value::as_str).unwrap_or_default();
                output.insert(stream.to_owned(), format!("{before}{text}").into());
            }
            if part["close"] == true {
                output.insert(format!("{stream} is closed"), true.into());
            }
        }
        for field in ["exited", "result"] {
            if let Some(value) = answer.get(field) {
                output.insert(field.to_owned(), value.clone());
            }
        }
    }
    for stream in ["stdout", "stderr"] {
        if let Some(text) = output.get_mut(stream) {
            *text = steady(text.as_str().unwrap()).into();
        }
    }
    output
}

/// Whether all of an output is there.
pub(crate) fn has(output: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(name, wanted)| match (output.get(name), wanted) {
        (Some(Value::String(text)), Value::String(wanted)) => text.starts_with(wanted),
        (found, wanted) => found == Some(wanted),
    })
}

fn steady(text: &str) -> String {
    let mut text = text.replace("\u{1b}[6n", "").replace("\r/local $ \u{1b}[J", "");
    if let (Some(begin), Some(end)) = (text.find("BusyBox v"), text.find(" built-in shell")) {
        text.replace_range(begin..end, "BusyBox");
    }
    text
}
