//! The logging configuration of the task.

use std::collections::BTreeMap;

use super::Reader;

/// A task's logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLogging {
    /// The driver; empty is the engine's default.
    pub driver: String,
    /// Its options; `None` if the job has no `config`.
    pub options: Option<BTreeMap<String, String>>,
}

pub(super) fn logging(reader: &Reader<'_>) -> Option<TaskLogging> {
    let logging = reader.block("logging")?;
    let driver = logging.text("type").or_else(|| logging.text("driver")).unwrap_or_default();
    let options = logging.text_map("config");
    (!driver.is_empty() || options.is_some()).then_some(TaskLogging { driver, options })
}
