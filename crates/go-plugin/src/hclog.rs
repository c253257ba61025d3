//! Log lines as hclog writes them: JSON objects, one a line, with `@level`, `@message` and `@timestamp`.
//!
//! Hosts take those three for strings without a look, and die of anything else; so strings they are.

use std::{
    fmt,
    io::Write,
    panic::{self, PanicHookInfo},
    thread,
};

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Scope},
    util::SubscriberInitExt,
};

use crate::text::short;

const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// One line of a plugin's standard error.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// An hclog object.
    Entry {
        /// `trace`, `debug`, `info`, `warn` or `error`.
        level: String,
        /// The message.
        message: String,
        /// All other keys.
        fields: Map<String, Value>,
    },
    /// Anything else.
    Text(String),
}

impl Line {
    /// Reads one line; what is no hclog object is text.
    pub fn parse(line: &str) -> Self {
        let text = || Self::Text(line.to_owned());
        let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else { return text() };
        let (Some(Value::String(level)), Some(Value::String(message))) =
            (fields.remove("@level"), fields.remove("@message"))
        else {
            return text();
        };
        fields.remove("@timestamp");
        Self::Entry { level, message, fields }
    }
}

/// Sends this process's tracing events to standard error as hclog lines, and its panics as errors: hosts log at their lowest
/// level what is no hclog line.
///
/// `LONGSHORE_LOG` chooses what is written (default `info`). A standard error that nobody reads is no failure. A second call does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("LONGSHORE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    if tracing_subscriber::registry().with(filter).with(HclogLayer).try_init().is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    tracing::error!(at, thread = thread.name().unwrap_or_default(), "panic: {}", text.unwrap_or("without a text"));
}

struct HclogLayer;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HclogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        note_fields(attributes, id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = format_event(event, &context, OffsetDateTime::now_utc());
        line.push('\n');
        // A host that died leaves a broken pipe behind; the plugin's tasks live on.
        let _broken_pipe = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Notes what a span has, for the lines of the events in it.
fn note_fields<S: Subscriber + for<'a> LookupSpan<'a>>(attributes: &Attributes<'_>, id: &Id, context: &Context<'_, S>) {
    let mut fields = Fields::default();
    attributes.record(&mut fields);
    if let Some(span) = context.span(id) {
        span.extensions_mut().insert(fields);
    }
}

/// An event's line, with the fields of its spans. Its own come before theirs.
fn format_event<S: Subscriber + for<'a> LookupSpan<'a>>(
    event: &Event<'_>,
    context: &Context<'_, S>,
    at: OffsetDateTime,
) -> String {
    let mut fields = Fields::default();
    for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
        if let Some(of_span) = span.extensions().get::<Fields>() {
            fields.others.extend(of_span.others.clone());
        }
    }
    event.record(&mut fields);
    let metadata = event.metadata();
    let level = match *metadata.level() {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    };
    let mut object = fields.others;
    object.insert("@level".into(), level.into());
    object.insert("@message".into(), fields.message.into());
    object.insert("@module".into(), metadata.target().into());
    object.insert("@timestamp".into(), at.format(TIMESTAMP).unwrap_or_default().into());
    Value::Object(object).to_string()
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            // A field may not take the place of hclog's own keys.
            name => drop(self.others.insert(name.trim_start_matches('@').to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, short(&format!("{value:?}")).into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, short(value).into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use time::macros::datetime;

    use super::*;

    struct Capture(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            note_fields(attributes, id, &context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            self.0.lock().unwrap().push(format_event(event, &context, datetime!(2026-01-02 03:04:05.6 UTC)));
        }
    }

    #[test]
    fn a_line_has_the_fields_of_its_spans_and_its_own_before_theirs() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Capture(lines.clone()));

        tracing::subscriber::with_default(subscriber, || {
            let _call = tracing::info_span!("call", call = "StartTask", task = "a1/web/1").entered();
            let _inner = tracing::info_span!("inner", container = "c1", n = 1).entered();
            tracing::info!(target: "t", n = 2, "started");
        });

        let expected = r#"{"@level":"info","@message":"started","@module":"t","@timestamp":"2026-01-02T03:04:05.600000Z","call":"StartTask","container":"c1","n":2,"task":"a1/web/1"}"#;
        assert_eq!(*lines.lock().unwrap(), [expected]);
    }

    #[test]
    fn the_three_keys_are_strings_whatever_is_logged() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Capture(lines.clone()));

        tracing::subscriber::with_default(subscriber, || tracing::warn!(target: "t", message = 7, n = 3, "@level" = 1));

        let expected = r#"{"@level":"warn","@message":"7","@module":"t","@timestamp":"2026-01-02T03:04:05.600000Z","level":1,"n":3}"#;
        assert_eq!(*lines.lock().unwrap(), [expected]);
    }

    #[test]
    fn a_line_is_an_entry_only_with_string_keys() {
        let entry = Line::parse(r#"{"@level":"info","@message":"m","@timestamp":"x","k":1}"#);
        let fields = Map::from_iter([("k".to_owned(), Value::from(1))]);
        assert_eq!(entry, Line::Entry { level: "info".into(), message: "m".into(), fields });

        assert_eq!(Line::parse("plain"), Line::Text("plain".into()));
        let number = r#"{"@level":"info","@message":3}"#;
        assert_eq!(Line::parse(number), Line::Text(number.into()));
    }
}
