//! The job's security options in normal form, which the operator's lists match.

use crate::alloc_paths::clean;

/// Key and value. Docker accepts the older colon only without an equals sign.
pub(crate) fn parts(option: &str) -> Option<(&str, &str)> {
    option.split_once('=').or_else(|| option.split_once(':'))
}

/// The profile file that an option names.
pub(crate) fn profile_path(option: &str) -> Option<&str> {
    match parts(option)? {
        ("seccomp", value) if value != "unconfined" => Some(value),
        _ => None,
    }
}

/// An option in normal form, which the operator's globs match.
pub(crate) fn normal(option: &str) -> String {
    match (profile_path(option), parts(option)) {
        (Some(path), _) => format!("seccomp={}", clean(path.as_ref()).display()),
        (None, Some((key, value))) => format!("{key}={value}"),
        (None, None) => option.to_owned(),
    }
}
