//! The program that runs.

use super::Reader;

pub(super) fn command(reader: &Reader<'_>) -> Option<String> {
    let command = reader.text("command")?;
    if command.trim().is_empty() {
        reader.problem(format!("command empty: {command:?}"));
    } else if command.trim() != command {
        reader.problem(format!("command contains extra white space: {command:?}"));
    }
    Some(command)
}
