//! A recording: what a Nomad agent and a driver said to each other, in the order of time.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

/// A recording, by the first part of its file's name.
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) events: Vec<Event>,
}

/// One line of a recording.
pub(crate) struct Event {
    /// The plugin's process and the call in it.
    pub(crate) stream: Stream,
    /// `Service.Method`; empty where it is about the process.
    pub(crate) call: String,
    pub(crate) what: What,
}

/// A call: the plugin's process, counted, and the call in it, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stream {
    pub(crate) launch: u32,
    pub(crate) number: u32,
}

/// What happened.
pub(crate) enum What {
    /// The agent starts the plugin, with this environment where it was recorded.
    Launch(Option<Value>),
    /// The plugin's first line.
    Handshake(String),
    /// The plugin's process ended.
    Exit(String),
    /// Somebody did something beside the agent and the plugin.
    Operator(String),
    /// The agent opened a stream of requests that it leaves open.
    Open,
    /// The agent sent a message.
    Request(Request),
    /// The plugin answered.
    Response(Value),
    /// The plugin ended the call with a status.
    End(Ending),
    /// The agent gave the call up, or the recorder did.
    Cancelled,
}

/// A message of the agent.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) message: Value,
    pub(crate) bytes: Vec<u8>,
    /// Whether the agent gave the call a deadline.
    pub(crate) deadline: bool,
}

/// A status.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ending {
    pub(crate) code: String,
    pub(crate) text: String,
    /// The detail that says whether another attempt may help: its bytes, where it is there.
    pub(crate) recoverable: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    launch: u32,
    #[serde(default)]
    stream: u32,
    #[serde(default)]
    call: String,
    what: String,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    bytes: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    details: Vec<Option<String>>,
    deadline: Option<String>,
    environment: Option<Value>,
}

impl Recording {
    /// The recording whose file's name begins so.
    pub(crate) fn open(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/agent");
        let begins = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}-"));
        let mut files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|path| begins(path)).unwrap_or_else(|| panic!("no recording {name}"));
        let events = std::fs::read_to_string(file).unwrap().lines().filter_map(event).collect();
        Self { name: name.to_owned(), events }
    }

    /// The messages of the agent in a call, in order.
    pub(crate) fn requests<'a>(&'a self, call: &'a str) -> impl Iterator<Item = &'a Request> {
        self.events.iter().filter_map(move |event| match &event.what {
            What::Request(request) if event.call == call => Some(request),
            _ => None,
        })
    }

    /// Whether the agent ended a process of the plugin in order; it was killed otherwise.
    pub(crate) fn ends_in_order(&self, launch: u32) -> bool {
        self.events.iter().any(|event| event.stream.launch == launch && event.call == "GRPCController.Shutdown")
    }
}

fn event(line: &str) -> Option<Event> {
    let line: Line = serde_json::from_str(line).unwrap();
    let what = match line.what.as_str() {
        "launch" => What::Launch(line.environment),
        "handshake" => What::Handshake(line.text),
        "exit" => What::Exit(line.text),
        "operator" => What::Operator(line.text),
        "open" => What::Open,
        "request" => What::Request(Request {
            message: line.message,
            bytes: STANDARD.decode(line.bytes).unwrap(),
            deadline: line.deadline.is_some(),
        }),
        "response" => What::Response(line.message),
        // That the agent gave the call up is the cause of this status.
        "end" if line.code == "Canceled" => What::Cancelled,
        "end" => {
            let mut details = line.details.into_iter();
            let recoverable =
                details.next().map(|_its_type| STANDARD.decode(details.next().flatten().unwrap_or_default()));
            What::End(Ending { code: line.code, text: line.text, recoverable: recoverable.map(Result::unwrap) })
        }
        "cancelled" | "broken by the recorder" => What::Cancelled,
        "left out" => return None,
        other => panic!("{other:?} in a recording"),
    };
    Some(Event { stream: Stream { launch: line.launch, number: line.stream }, call: line.call, what })
}
