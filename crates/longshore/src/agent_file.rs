//! The file of an agent's configuration, as far as it is about the driver: `plugin "docker" { config { ... } }`, and the
//! older `client { options { "docker.*" = ... } }`, which an agent does not pass on to an external plugin.

use std::{ops::Range, path::Path};

use nomad_jobspec::{
    Diagnostics, Problem, Source,
    body::{Attribute, Block, Body, Value},
    parse_config,
};
use regex::Regex;

use crate::{Failure, job_file::read, report};

/// The driver's option that says where it keeps what must outlive its process.
pub(crate) const STATE_DIR: &str = "state_dir";

/// What an older option holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Truth,
    /// Names, separated by commas.
    Names,
}

/// Each older option, what it holds, and the option of the plugin that it became.
const OLDER: [(&str, Holds, &[&str]); 15] = [
    ("docker.endpoint", Holds::Text, &["endpoint"]),
    ("docker.auth.config", Holds::Text, &["auth", "config"]),
    ("docker.auth.helper", Holds::Text, &["auth", "helper"]),
    ("docker.tls.cert", Holds::Text, &["tls", "cert"]),
    ("docker.tls.key", Holds::Text, &["tls", "key"]),
    ("docker.tls.ca", Holds::Text, &["tls", "ca"]),
    ("docker.cleanup.image", Holds::Truth, &["gc", "image"]),
    ("docker.cleanup.image.delay", Holds::Text, &["gc", "image_delay"]),
    ("docker.cleanup.container", Holds::Truth, &["gc", "container"]),
    ("docker.volumes.enabled", Holds::Truth, &["volumes", "enabled"]),
    ("docker.volumes.selinuxlabel", Holds::Text, &["volumes", "selinuxlabel"]),
    ("docker.privileged.enabled", Holds::Truth, &["allow_privileged"]),
    ("docker.nvidia_runtime", Holds::Text, &["nvidia_runtime"]),
    ("docker.caps.allowlist", Holds::Names, &["allow_caps"]),
    // The name before that; where both are there, this one is ignored.
    ("docker.caps.whitelist", Holds::Names, &["allow_caps"]),
];

/// Reads the driver's configuration from an agent's file: what stands in the `config` block.
pub(crate) fn load(path: &Path) -> Result<(Source, Body), Failure> {
    let mut source = read(path)?;
    source.text = with_quoted_names(&source.text);
    let agent = parse_config(&source).map_err(|diagnostics| Failure::Usage(diagnostics.to_string()))?;
    let docker = agent.blocks("plugin").find(|plugin| plugin.labels == ["docker"]);
    let config = docker.and_then(|docker| docker.body.blocks("config").next());
    let mut config = config.map(|config| config.body.clone()).unwrap_or_default();
    let mut problems = Vec::new();
    let mut older: Vec<_> = agent.blocks("client").flat_map(|client| options(&client.body)).collect();
    older.sort_by_key(|older| OLDER.iter().position(|(name, ..)| *name == older.name));
    for older in older {
        if let Err(problem) = add(&mut config, &older) {
            problems.push(Problem { message: problem, span: Some(older.span.clone()), hint: None });
        }
    }
    if problems.is_empty() {
        Ok((source, config))
    } else {
        Err(Failure::Usage(Diagnostics::new(&source, problems).to_string()))
    }
}

/// Agents' files may have names in quotes at the beginning of a block, for they are read as an older HCL: such a block is
/// read as an object. No place in the file moves.
fn with_quoted_names(text: &str) -> String {
    let block = Regex::new(r#"(?m)^([ \t]*[A-Za-z0-9_]+)[ \t]([ \t]*\{[ \t\r\n]*"[^"\n]*"[ \t]*=)"#)
        .expect("it is a regular expression");
    block.replace_all(text, "$1=$2").into_owned()
}

/// An older option as it stands in the file.
struct Older {
    name: String,
    value: Value,
    span: Range<usize>,
}

/// The older options, written as a block or as an object.
fn options(client: &Body) -> Vec<Older> {
    let in_blocks = client.blocks("options").flat_map(|options| &options.body.attributes).map(|attribute| Older {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
        span: attribute.span.clone(),
    });
    let in_object = client.attribute("options").into_iter().flat_map(|attribute| {
        let entries: Vec<_> = match &attribute.value {
            Value::Object(entries) => entries.iter().collect(),
            _ => Vec::new(),
        };
        let older = |(name, value): (&String, &Value)| Older {
            name: name.clone(),
            value: value.clone(),
            span: attribute.span.clone(),
        };
        entries.into_iter().map(older).collect::<Vec<_>>()
    });
    in_blocks.chain(in_object).filter(|older| older.name.starts_with("docker.")).collect()
}

/// Puts an older option where it belongs. What the `plugin` block says itself stands.
fn add(config: &mut Body, older: &Older) -> Result<(), String> {
    let Some((_, holds, path)) = OLDER.into_iter().find(|(name, ..)| *name == older.name) else {
        report::note(&format!("unknown client option {:?} is ignored", older.name));
        return Ok(());
    };
    let text = match &older.value {
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        _ => return Err(format!("{:?} needs a string", older.name)),
    };
    let value = match holds {
        Holds::Text => Value::String(text),
        Holds::Truth => Value::Bool(
            truth(&text).ok_or_else(|| format!("{:?} needs \"true\" or \"false\", this is {text:?}", older.name))?,
        ),
        Holds::Names => text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>().into(),
    };
    if !set(config, path, value, &older.span) {
        let new = path.join(".");
        report::note(&format!("the client option {:?} is ignored: {new:?} of the plugin is set already", older.name));
    }
    Ok(())
}

/// The spellings that agents take.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Sets an attribute, in blocks as deep as needed; whether there was none.
fn set(body: &mut Body, path: &[&str], value: Value, span: &Range<usize>) -> bool {
    match path {
        [] => false,
        [name] => {
            let absent = body.attribute(name).is_none();
            if absent {
                body.attributes.push(Attribute {
                    name: (*name).to_owned(),
                    value,
                    span: span.clone(),
                    value_span: span.clone(),
                    references: Vec::new(),
                    failed: false,
                });
            }
            absent
        }
        [name, rest @ ..] => {
            let at = body.blocks.iter().position(|block| block.name == *name).unwrap_or_else(|| {
                let empty_body = Body { span: span.clone(), ..Body::default() };
                let block =
                    Block { name: (*name).to_owned(), labels: Vec::new(), body: empty_body, span: span.clone() };
                body.blocks.push(block);
                body.blocks.len() - 1
            });
            set(&mut body.blocks[at].body, rest, value, span)
        }
    }
}

/// Says where the driver keeps what must outlive its process, unless the file does.
pub(crate) fn set_state_dir(config: &mut Body, directory: &Path) {
    let _said_in_the_file = set(config, &[STATE_DIR], Value::String(directory.display().to_string()), &(0..0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<Body, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(file.path()).map(|(_, body)| body).map_err(|failure| failure.to_string())
    }

    fn value(body: &Body, path: &[&str]) -> Option<Value> {
        match path {
            [name] => body.attribute(name).map(|attribute| attribute.value.clone()),
            [name, rest @ ..] => value(&body.blocks(name).next()?.body, rest),
            [] => None,
        }
    }

    #[test]
    fn every_older_option_becomes_the_plugins() {
        for (name, holds, path) in OLDER {
            let (text, expected) = match holds {
                Holds::Text => ("some", Value::from("some")),
                Holds::Truth => ("1", Value::from(true)),
                Holds::Names => ("CHOWN, KILL", Value::from(vec!["CHOWN", "KILL"])),
            };
            for form in ["options {", "options = {", "options   {"] {
                let agent = format!(
                    "data_dir = \"/d\"\nclient {{\n  enabled = true\n  {form}\n    \"{name}\" = \"{text}\"\n  }}\n}}\n"
                );

                assert_eq!(value(&loaded(&agent).unwrap(), path), Some(expected.clone()), "{agent}");
            }
        }
    }

    #[test]
    fn the_newer_of_two_older_names_has_precedence() {
        let agent = "client {\n  options {\n    \"docker.caps.whitelist\" = \"KILL\"\n    \"docker.caps.allowlist\" = \
                     \"CHOWN\"\n  }\n}\n";

        assert_eq!(value(&loaded(agent).unwrap(), &["allow_caps"]), Some(Value::from(vec!["CHOWN"])));
    }

    #[test]
    fn what_the_plugins_block_says_stands() {
        let agent = r#"
            client {
              options {
                "docker.volumes.enabled" = true
                "docker.volumes.selinuxlabel" = "z"
                "docker.unheard.of" = "1"
                "driver.raw_exec.enable" = "1"
              }
            }
            plugin "raw_exec" {
              config {
                enabled = true
              }
            }
            plugin "docker" {
              config {
                volumes { enabled = false }
              }
            }
        "#;

        let config = loaded(agent).unwrap();

        assert_eq!(value(&config, &["volumes", "enabled"]), Some(Value::from(false)));
        assert_eq!(value(&config, &["volumes", "selinuxlabel"]), Some(Value::from("z")));
        assert_eq!((config.attributes.len(), config.blocks.len()), (0, 1));
    }

    #[test]
    fn a_file_without_the_driver_is_its_defaults() {
        assert_eq!(loaded("datacenter = \"dc1\"\nserver { enabled = true }\n").unwrap(), Body::default());
    }

    #[test]
    fn what_cannot_be_meant_is_reported_with_its_place() {
        let error = loaded("client {\n  options {\n    \"docker.cleanup.image\" = \"yes\"\n  }\n}\n").unwrap_err();

        assert!(error.contains("\"docker.cleanup.image\" needs \"true\" or \"false\", this is \"yes\""), "{error}");
        assert!(error.contains(":2:"), "{error}");
    }

    #[test]
    fn a_state_directory_that_the_file_names_is_kept() {
        let mut own = loaded("plugin \"docker\" {\n  config {\n    state_dir = \"/own\"\n  }\n}\n").unwrap();
        let mut none = Body::default();

        for config in [&mut own, &mut none] {
            set_state_dir(config, Path::new("/jobs"));
        }

        assert_eq!(value(&own, &["state_dir"]), Some(Value::from("/own")));
        assert_eq!(value(&none, &["state_dir"]), Some(Value::from("/jobs")));
    }
}
