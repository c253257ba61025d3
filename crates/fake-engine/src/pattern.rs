//! Which requests a script or a query matches: `POST /containers/*/start`.

/// A method and a path; a star matches any text, including slashes. Without a method, any method matches.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    method: Option<String>,
    path: String,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        match text.split_once(' ') {
            Some((method, path)) => Self { method: Some(method.to_owned()), path: path.to_owned() },
            None => Self { method: None, path: text.to_owned() },
        }
    }

    pub(crate) fn matches(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method) && is_like(&self.path, path)
    }
}

fn is_like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let matches = |pattern: &str, method: &str, path: &str| Pattern::new(pattern).matches(method, path);

        assert!(matches("POST /containers/*/start", "POST", "/containers/c1/start"));
        assert!(matches("GET /images/*/json", "GET", "/images/r.test/a/b:1/json"));
        assert!(matches("/info", "GET", "/info") && matches("*", "PUT", "/any"));
        assert!(!matches("POST /containers/*/start", "GET", "/containers/c1/start"));
        assert!(!matches("POST /containers/*/start", "POST", "/containers/c1/stop"));
        assert!(!matches("/info", "GET", "/info/more"));
    }
}
