//! The plugin's standard error, line by line.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tail::Tail;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStderr,
    sync::watch,
};

use super::LogSink;
use crate::hclog::Line;

/// The last lines, for an error that has to say what the plugin said.
#[derive(Clone)]
pub(super) struct LastLines {
    lines: Arc<Mutex<Tail<String>>>,
    closed: watch::Sender<bool>,
}

impl Default for LastLines {
    fn default() -> Self {
        Self { lines: Arc::new(Mutex::new(Tail::new(Self::LINES))), closed: watch::channel(false).0 }
    }
}

impl LastLines {
    const LINES: usize = 10;

    fn push(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// The lines as one text.
    pub(super) fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Waits, not for ever, until all that was said has been read.
    pub(super) async fn closed(&self, patience: Duration) {
        let mut closed = self.closed.subscribe();
        let _late = tokio::time::timeout(patience, closed.wait_for(|closed| *closed)).await;
    }
}

/// Reads to the end; what is not UTF-8 is read as far as possible.
pub(super) async fn read(pipe: ChildStderr, log: LogSink, last: LastLines) {
    let mut pipe = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while pipe.read_until(b'\n', &mut bytes).await.is_ok_and(|count| count > 0) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        last.push(line.clone());
        log(Line::parse(&line));
    }
    last.closed.send_replace(true);
}
