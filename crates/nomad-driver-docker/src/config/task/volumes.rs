//! Mounts in the short form: `volumes`.

use super::{Reader, mounts::Targets};

/// A mount in the short form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// As the job has it.
    pub text: String,
    /// A path of the host, or with a volume driver a volume's name.
    pub source: String,
    /// Where.
    pub target: String,
    /// Flags with commas between, for example `ro`.
    pub mode: Option<String>,
}

impl Volume {
    /// Parses `source:target[:mode]`. What comes behind a further colon says nothing, as in the built-in driver.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (source, target, mode) = (parts.next()?, parts.next()?, parts.next());
        Some(Self {
            text: text.to_owned(),
            source: source.into(),
            target: target.into(),
            mode: mode.map(str::to_owned),
        })
    }
}

pub(super) fn volumes(reader: &Reader<'_>, targets: &mut Targets) -> Vec<Volume> {
    let mut volumes = Vec::new();
    for (index, text) in reader.texts("volumes").unwrap_or_default().iter().enumerate() {
        let name = format!("volumes[{index}]");
        match Volume::parse(text) {
            None => {
                reader.problem_at(&name, format!("invalid docker volume {text:?}: not <src>:<destination> format"));
            }
            Some(volume) => {
                targets.add(reader, &name, &volume.target);
                volumes.push(volume);
            }
        }
    }
    volumes
}
