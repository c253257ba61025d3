//! Mounts in the short form: `volumes`.

use super::{Reader, mounts::Targets};

/// A mount in the short form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// The text in the job.
    pub text: String,
    /// A host path or, with a volume driver, a volume's name.
    pub source: String,
    /// The mount point.
    pub target: String,
    /// Comma-separated flags, for example `ro`.
    pub mode: Option<String>,
}

impl Volume {
    /// Parses `source:target[:mode]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, mode) = match parts[..] {
            [source, target] => (source, target, None),
            [source, target, mode] => (source, target, Some(mode.to_owned())),
            [..] if parts.len() > 3 => {
                return Err(format!("invalid docker volume {text:?}: more than <src>:<destination>:<mode>"));
            }
            [..] => return Err(format!("invalid docker volume {text:?}: not <src>:<destination> format")),
        };
        if source.is_empty() {
            return Err(format!("invalid docker volume {text:?}: the source must be set"));
        }
        Ok(Self { text: text.to_owned(), source: source.to_owned(), target: target.to_owned(), mode })
    }
}

pub(super) fn volumes(reader: &Reader<'_>, targets: &mut Targets) -> Vec<Volume> {
    let mut volumes = Vec::new();
    for (index, text) in reader.texts("volumes").unwrap_or_default().iter().enumerate() {
        let name = format!("volumes[{index}]");
        match Volume::parse(text) {
            Err(problem) => reader.problem_at(&name, problem),
            Ok(volume) => {
                targets.add(reader, &name, &volume.target);
                volumes.push(volume);
            }
        }
    }
    volumes
}
