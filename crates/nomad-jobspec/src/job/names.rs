//! What may be a name: Nomad's rules, and those of what a name becomes: a directory, a container's name, a line of text.

use std::ops::Range;

use super::reader::Findings;

/// So that its log files, `<task>.stdout.<number>`, have names that a file system takes.
const LONGEST_TASK: usize = 200;

/// What the tasks of an allocation share is in a directory of this name, beside those of the tasks.
const SHARED: &str = "alloc";

/// A group in a bridge has a file of this name there.
pub(super) const HOSTS: &str = "hosts";

/// A job's id. It may have slashes: those of dispatched jobs do.
pub(super) fn job_id(id: &str, span: &Range<usize>, findings: &Findings) {
    if id.contains(' ') {
        findings.problem(span, format!("job id {id:?} has a space"));
    }
    plain("job id", id, span, findings);
    if matches!(id, "." | "..") {
        findings.problem(span, format!("job id {id:?} is a step in a path, and no name"));
    }
}

/// A task's name.
pub(super) fn task(name: &str, span: &Range<usize>, findings: &Findings) {
    let problem = |why: &str| findings.problem(span, format!("task name {name:?} {why}"));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if name.is_empty() {
        // Which is reported already.
    } else if name.contains(['/', '\\']) {
        problem("has a slash, but names a directory");
    } else if !name.bytes().all(is_plain) {
        problem("is no part of a container's name, which has letters, digits, `_`, `.` and `-`");
    } else if !begins {
        problem("is no container's name, which begins with a letter or a digit");
    } else if name == SHARED {
        problem("is taken: the directory that a group's tasks share has this name");
    } else if name.len() > LONGEST_TASK {
        problem(&format!("is too long: {LONGEST_TASK} bytes are the most"));
    }
}

/// A namespace.
pub(super) fn namespace(name: &str, span: &Range<usize>, findings: &Findings) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !(1..=128).contains(&name.len()) || !name.bytes().all(is_plain) {
        findings.problem(span, format!("namespace {name:?} is not 1 to 128 letters, digits and `-`"));
    }
}

/// Any other name: one line of text.
pub(super) fn plain(what: &str, name: &str, span: &Range<usize>, findings: &Findings) {
    if name.contains(char::is_control) {
        findings.problem(span, format!("{what} {name:?} has a control character"));
    }
}
