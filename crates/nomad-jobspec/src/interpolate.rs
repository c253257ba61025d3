//! References that are known only when a task runs: `${NOMAD_PORT_http}`, `${attr.kernel.name}`, `${env["HOME"]}`.

use std::cell::RefCell;

/// Replaces each reference that `resolve` knows; it gets `NOMAD_PORT_http`, `attr.kernel.name`, `env.HOME`. What it
/// does not know is unchanged.
pub fn interpolate(text: &str, resolve: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        let (before, reference) = (&rest[..start], &rest[start..=start + length]);
        out.push_str(before);
        match resolve(&path(&reference[2..reference.len() - 1])) {
            Some(value) => out.push_str(&value),
            None => out.push_str(reference),
        }
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    out
}

/// The references in a text: `NOMAD_PORT_http`, `attr.kernel.name`, `env.HOME`.
pub(crate) fn paths(text: &str) -> Vec<String> {
    let paths = RefCell::new(Vec::new());
    let _unchanged = interpolate(text, &|path| {
        paths.borrow_mut().push(path.to_owned());
        None
    });
    paths.into_inner()
}

/// `env["HOME"]` as `env.HOME`.
pub(crate) fn path(reference: &str) -> String {
    let plain = reference.trim().replace("[\"", ".");
    plain.replace("\"]", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_references_are_replaced_and_others_are_unchanged() {
        let resolve = |name: &str| match name {
            "NOMAD_PORT_http" => Some("8080".to_owned()),
            "env.HOME" => Some("/root".to_owned()),
            "meta.a.b" => Some("x".to_owned()),
            _ => None,
        };
        let text = "p=${NOMAD_PORT_http} h=${env[\"HOME\"]} m=${ meta.a.b } u=${unknown} ${open";
        assert_eq!(interpolate(text, &resolve), "p=8080 h=/root m=x u=${unknown} ${open");
    }
}
