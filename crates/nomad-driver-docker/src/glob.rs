//! Patterns in which only `*` is special.

/// Whether `text` matches `pattern`.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn only_the_star_is_special() {
        assert!(matches("*", "") && matches("job_*", "job_name") && matches("*_name", "task_name"));
        assert!(matches("a*b*c", "a1b2c") && matches("host", "host"));
        assert!(!matches("job?name", "job_name") && !matches("host", "hosts") && !matches("a*a", "a"));
    }
}
