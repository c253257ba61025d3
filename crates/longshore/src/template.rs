//! Files made of templates before a task starts.

mod functions;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use nomad_jobspec::{interpolate, job::Template};

use crate::alloc::environment::{ALLOC_DIR, SECRETS_DIR, TASK_DIR};

/// Makes a template's file, and returns the variables that it adds to the environment.
pub(crate) fn make(
    template: &Template,
    alloc_dir: &Path,
    task_dir: &Path,
    env: &BTreeMap<String, String>,
    resolve: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let destination = interpolate(&template.destination, resolve);
    let failed = |error: &dyn std::fmt::Display| format!("template for {destination:?}: {error}");
    let path = inside(alloc_dir, task_dir, &destination).ok_or_else(|| failed(&"it leaves the task's directory"))?;
    let text = match (&template.data, &template.source) {
        (Some(data), _) => data.clone(),
        (None, source) => {
            let source = interpolate(source.as_deref().unwrap_or_default(), resolve);
            let source = inside(alloc_dir, task_dir, &source).filter(|path| path.exists()).unwrap_or(source.into());
            fs::read_to_string(&source)
                .map_err(|error| failed(&format!("failed to read {}: {error}", source.display())))?
        }
    };
    let text = render(&delimited(&text, template), env).map_err(|error| failed(&error))?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| failed(&error))?;
    }
    fs::write(&path, &text).map_err(|error| failed(&error))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(template.perms)).map_err(|error| failed(&error))?;
    Ok(if template.env { variables(&text) } else { BTreeMap::new() })
}

/// Where a path as the task sees it is on this machine; `None` where it leads outside.
fn inside(alloc_dir: &Path, task_dir: &Path, path: &str) -> Option<PathBuf> {
    let under = |directory: &str| path.strip_prefix(directory).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let (root, relative) = if let Some(rest) = under(ALLOC_DIR) {
        (alloc_dir.join("alloc"), rest)
    } else if let Some(rest) = under(TASK_DIR) {
        (task_dir.join("local"), rest)
    } else if let Some(rest) = under(SECRETS_DIR) {
        (task_dir.join("secrets"), rest)
    } else {
        (task_dir.to_owned(), path)
    };
    let relative = Path::new(relative.trim_start_matches('/'));
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    plain.then(|| root.join(relative))
}

/// The text with the usual delimiters.
fn delimited(text: &str, template: &Template) -> String {
    let (left, right) = (template.left_delimiter.as_str(), template.right_delimiter.as_str());
    if (left, right) == ("{{", "}}") {
        return text.to_owned();
    }
    text.replace("{{", "\u{0}").replace(left, "{{").replace(right, "}}").replace('\u{0}', "{{\"{{\"}}")
}

fn render(text: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    let mut template = gtmpl::Template::default();
    functions::declare(&mut template, env);
    template.parse(text).map_err(|error| error.to_string())?;
    template.render(&gtmpl::Context::empty()).map_err(|error| error.to_string())
}

/// `NAME=value` lines; comments and empty lines are left out, quotes taken off.
fn variables(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let line = line.trim();
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        (!line.starts_with('#')).then(|| (name.trim().to_owned(), bare.unwrap_or(value).to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(data: &str, destination: &str) -> Template {
        Template {
            data: Some(data.into()),
            source: None,
            destination: destination.into(),
            perms: 0o600,
            env: false,
            left_delimiter: "{{".into(),
            right_delimiter: "}}".into(),
        }
    }

    fn made(template: &Template) -> Result<(String, BTreeMap<String, String>), String> {
        let root = tempfile::tempdir().unwrap();
        let task = root.path().join("web");
        let env = [("NOMAD_PORT_http".to_owned(), "8080".to_owned())].into();
        let added = make(template, root.path(), &task, &env, &|_| None)?;
        let file = task.join("local/page");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, template.perms);
        Ok((fs::read_to_string(file).unwrap(), added))
    }

    #[test]
    fn the_environment_is_filled_in() {
        let text = "port {{ env \"NOMAD_PORT_http\" }}{{ if env \"X\" }}!{{ end }} {{ env \"NONE\" | toUpper }}.";
        assert_eq!(made(&template(text, "local/page")).unwrap().0, "port 8080 .");
        assert_eq!(made(&template("a", "/local/page")).unwrap().0, "a");
    }

    #[test]
    fn functions_calculate_cut_and_count() {
        let text = concat!(
            "{{ range loop 1 3 }}{{ . }};{{ end }} {{ env \"NOMAD_PORT_http\" | parseInt | add 1 }} {{ subtract 1 3 }} ",
            "{{ envOrDefault \"NONE\" \"other\" }} {{ \"a,b\" | split \",\" | join \"-\" }} {{ \"xax\" | trim \"x\" }} ",
            "{{ base64Encode \"a\" }} {{ base64Decode \"YQ==\" }} {{ toJSON \"q\\\"\" }} {{ \"v1\" | trimPrefix \"v\" }}"
        );
        let expected = "1;2; 8081 2 other a-b a YQ== a \"q\\\"\" 1";
        assert_eq!(made(&template(text, "local/page")).unwrap().0, expected);
        let missing = made(&template("{{ mustEnv \"NONE\" }}", "local/page")).unwrap_err();
        assert!(missing.contains("NONE is not set"), "{missing}");
    }

    #[test]
    fn other_delimiters_leave_the_usual_ones_alone() {
        let mut other = template("[[ env \"NOMAD_PORT_http\" ]] {{ x }}", "local/page");
        (other.left_delimiter, other.right_delimiter) = ("[[".into(), "]]".into());
        assert_eq!(made(&other).unwrap().0, "8080 {{ x }}");
    }

    #[test]
    fn lines_become_environment() {
        let mut lines = template("# comment\nA=1\nexport B=\"x y\"\n\n", "local/page");
        lines.env = true;
        assert_eq!(made(&lines).unwrap().1, [("A".into(), "1".into()), ("B".into(), "x y".into())].into());
    }

    #[test]
    fn what_leads_outside_or_is_not_known_is_an_error() {
        let outside = made(&template("a", "../../etc/passwd")).unwrap_err();
        assert_eq!(outside, "template for \"../../etc/passwd\": it leaves the task's directory");
        let unknown = made(&template("{{ key \"a/b\" }}", "local/page")).unwrap_err();
        assert!(unknown.contains("key"), "{unknown}");
    }
}
