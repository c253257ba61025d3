//! Which kernel namespaces the task has to itself.

use super::Reader;

/// A control group namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupNamespace {
    /// The host's.
    Host,
    /// The task's own.
    Private,
}

pub(super) fn cgroupns(reader: &Reader<'_>) -> Option<CgroupNamespace> {
    let text = reader.text("cgroupns")?;
    match text.as_str() {
        "host" => Some(CgroupNamespace::Host),
        "private" => Some(CgroupNamespace::Private),
        _ => {
            reader.problem_at("cgroupns", format!("invalid cgroup namespace mode: {text:?}"));
            None
        }
    }
}
