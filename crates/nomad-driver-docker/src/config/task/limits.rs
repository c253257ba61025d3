//! Resource limits of the task.

use std::ops::RangeInclusive;

use super::Reader;

/// The kernel's range.
pub(in crate::config) const OOM_SCORE_ADJ: RangeInclusive<i64> = -1000..=1000;

/// A resource limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// For example `nofile`.
    pub name: String,
    /// The limit that the process may raise up to `hard`.
    pub soft: i64,
    /// The maximum.
    pub hard: i64,
}

pub(super) fn ulimits(reader: &Reader<'_>) -> Vec<Ulimit> {
    let wrong = |problem: String| reader.problem(format!("failed to parse ulimit configuration: {problem}"));
    let mut limits = Vec::new();
    for (name, value) in reader.text_map("ulimit").unwrap_or_default() {
        if value.is_empty() {
            wrong(format!("Malformed ulimit specification {name}: {value:?}, cannot be empty"));
            continue;
        }
        let (soft, hard) = value.split_once(':').unwrap_or((&value, &value));
        match (limit(soft), limit(hard)) {
            (Some(soft), Some(hard)) if is_above(soft, hard) => {
                wrong(format!("ulimit soft limit must be less than or equal to hard limit: {name}: {soft} > {hard}"));
            }
            (Some(soft), Some(hard)) => limits.push(Ulimit { name, soft, hard }),
            (None, _) => wrong(format!("Malformed soft ulimit {name}: {value}")),
            (_, None) => wrong(format!("Malformed hard ulimit {name}: {value}")),
        }
    }
    limits
}

/// A limit; -1 is none.
fn limit(text: &str) -> Option<i64> {
    text.parse().ok().filter(|limit| *limit >= -1)
}

/// Whether one limit is more than another; -1 is no limit.
fn is_above(soft: i64, hard: i64) -> bool {
    hard != -1 && (soft == -1 || soft > hard)
}

pub(super) fn cfs_period(reader: &Reader<'_>, counts: bool) -> i64 {
    let period = reader.int("cpu_cfs_period").unwrap_or(100_000);
    // Without a hard limit the period has no effect, and the built-in driver does not check it.
    if counts && !(0..=1_000_000).contains(&period) {
        reader.problem("invalid value for cpu_cfs_period");
    }
    period
}
