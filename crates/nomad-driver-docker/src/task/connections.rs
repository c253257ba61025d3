//! The networks of a task's container since its start.
//!
//! They are stored in `<task dir>/.docker-networks.json` for the process that recovers the task later: the handle has the form
//! of the built-in driver's, which may reject unknown fields. If the file is lost, the current networks are used.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use beneath::{Beneath, Links};
use nomad_plugin::driver::TaskConfig;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::alloc_paths::task_dir;
use engine::Inspected;

/// More than any task's networks take.
const MOST: u64 = 1 << 16;

/// A container's networks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Connections {
    /// The names of the networks that it had at its start.
    pub(super) names: BTreeSet<String>,
    /// It has lost one of them.
    pub(super) disconnected: bool,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Noted {
    container: String,
    networks: BTreeSet<String>,
}

impl Connections {
    /// The networks of a container that was just started.
    pub(super) fn of(inspected: &Inspected) -> Self {
        Self { names: inspected.networks.keys().cloned().collect(), disconnected: false }
    }

    /// The networks of a task's container that was started earlier, as far as recorded.
    pub(super) fn since_the_start(task: &TaskConfig, container: &str, inspected: &Inspected) -> Self {
        let noted = read(task).ok().filter(|noted| noted.container == container);
        let Some(Noted { networks: names, .. }) = noted else { return Self::of(inspected) };
        let disconnected = missing(&names, inspected).is_some();
        Self { names, disconnected }
    }

    /// Records them for a later process.
    pub(super) fn note(&self, task: &TaskConfig, container: &str) {
        let noted = Noted { container: container.to_owned(), networks: self.names.clone() };
        let written = || {
            let mut file = beneath(task)?.replace(&path(task), Mode::RUSR | Mode::WUSR)?;
            file.write_all(&serde_json::to_vec(&noted)?)
        };
        if let Err(error) = written() {
            tracing::warn!(container, %error, "failed to record the task's networks; a network that is lost while the driver is down is not noticed");
        }
    }
}

/// The first of the networks that a container has lost.
pub(super) fn missing<'a>(networks: &'a BTreeSet<String>, running: &Inspected) -> Option<&'a String> {
    networks.iter().find(|network| !running.networks.contains_key(*network))
}

fn path(task: &TaskConfig) -> PathBuf {
    task_dir(task).join(".docker-networks.json")
}

fn beneath(task: &TaskConfig) -> io::Result<Beneath> {
    Beneath::open(Path::new(&task.alloc_dir))
}

fn read(task: &TaskConfig) -> io::Result<Noted> {
    let file = beneath(task)?.read(&path(task), Links::Refused)?;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Addresses;

    fn in_networks(names: &[&str]) -> Inspected {
        let networks = names.iter().map(|name| ((*name).to_owned(), Addresses::default())).collect();
        Inspected { networks, ..Inspected::default() }
    }

    #[test]
    fn what_a_container_had_at_its_start_is_known_to_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let task = TaskConfig {
            name: "web".into(),
            alloc_dir: directory.path().display().to_string(),
            ..TaskConfig::default()
        };
        std::fs::create_dir(directory.path().join("web")).unwrap();
        let both = in_networks(&["back", "front"]);
        let found = |container: &str, names: &[&str]| {
            let found = Connections::since_the_start(&task, container, &in_networks(names));
            (found.names.len(), found.disconnected)
        };

        assert_eq!(found("c1", &["front"]), (1, false), "nothing is noted");
        Connections::of(&both).note(&task, "c1");
        assert_eq!(found("c1", &["back", "front", "more"]), (2, false));
        assert_eq!(found("c1", &["front"]), (2, true));
        assert_eq!(found("c2", &["front"]), (1, false), "another container's");
        std::fs::write(path(&task), "{").unwrap();
        assert_eq!(found("c1", &["front"]), (1, false), "spoiled");
    }
}
