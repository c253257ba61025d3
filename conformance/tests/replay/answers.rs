//! What the driver answered, beside what was recorded.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::recording::{Ending, Stream};

/// All that was answered in a play.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) calls: BTreeMap<Stream, Exchange>,
    /// Handshakes and ends of processes: as recorded, and ours.
    pub(crate) processes: Vec<(String, String, String)>,
}

/// A call: as recorded, and ours.
pub(crate) struct Exchange {
    pub(crate) call: String,
    /// The first message, as it was sent to the driver.
    pub(crate) request: Value,
    /// Whether it starts a task that the agent stops later.
    pub(crate) is_stopped: bool,
    pub(crate) recorded: (Vec<Value>, Option<Ending>),
    pub(crate) ours: (Vec<Value>, Option<Ending>),
}

/// Answers without those that say the same as the one before.
pub(crate) fn distinct<T: PartialEq + Clone>(answers: &[T]) -> Vec<T> {
    let mut answers = answers.to_vec();
    answers.dedup();
    answers
}
