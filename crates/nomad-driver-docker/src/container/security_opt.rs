//! The job's security options, in the one form that the operator's lists are about.

use crate::alloc_paths::clean;

/// Key and value. Docker takes the older colon only where there is no equals sign.
pub(crate) fn parts(option: &str) -> Option<(&str, &str)> {
    option.split_once('=').or_else(|| option.split_once(':'))
}

/// The file of a profile that an option names.
pub(crate) fn profile_path(option: &str) -> Option<&str> {
    match parts(option)? {
        ("seccomp", value) if value != "unconfined" => Some(value),
        _ => None,
    }
}

/// An option in the one form that the operator's globs are about.
pub(crate) fn normal(option: &str) -> String {
    match (profile_path(option), parts(option)) {
        (Some(path), _) => format!("seccomp={}", clean(path.as_ref()).display()),
        (None, Some((key, value))) => format!("{key}={value}"),
        (None, None) => option.to_owned(),
    }
}
