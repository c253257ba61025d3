//! Determines whose a container with the name of a task's container is.
//!
//! A name proves nothing: anybody with access to the engine can give it to a container. A container is a task's own if this
//! driver [created it or was handed it](Made). It is also the task's own if it names the task's allocation, this node and, if
//! it names a task, that task, and has the task's image.

use std::time::Duration;

use nomad_plugin::driver::{DriverError, TaskConfig};

use crate::{
    container::CreateRequest,
    labels::{ALLOC_ID, NODE_ID, TASK_NAME},
    made::Made,
};
use engine::{Engine, Inspected, persist};

/// How long the engine may fail to say whose it is.
const LOOK: Duration = Duration::from_secs(10);

/// The container that has the name.
pub(super) enum Namesake {
    /// There is none any more.
    Removed,
    /// The task's own, running.
    Running(String),
    /// A leftover of an earlier run of the task: it is not running, or that run was destroyed, or it no longer has the task's
    /// image.
    Left(String),
    /// Somebody else's.
    Strange,
}

impl Namesake {
    /// Inspects the container that has the name of a task's container. `image` is the id of the task's image.
    pub(super) async fn look(
        engine: &Engine,
        made: &Made,
        request: &CreateRequest,
        task: &TaskConfig,
        image: &str,
    ) -> Result<Self, DriverError> {
        let name = &request.name;
        let found = match persist(name, LOOK, || engine.inspect_container(name)).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(Self::Removed),
            Err(error) => {
                return Err(DriverError::recoverable(format!("Failed to inspect container {name}: {error}")));
            }
        };
        let id = found.id.clone();
        let is_destroyed = made.destroyed().has(&id, name);
        let is_noted = made.has(&id, name) || is_destroyed;
        let is_of_image = is_of_image(engine, &found, request, image).await;
        let is_own = is_noted || (is_of(&found, task) && is_of_image);
        if !is_own {
            tracing::warn!(container = id, name, "another container has the name of the task's container");
            return Ok(Self::Strange);
        }
        Ok(if found.is_running() && is_of_image && !is_destroyed { Self::Running(id) } else { Self::Left(id) })
    }
}

/// Whether a container with the name of another task of the group is that task's.
pub(super) fn is_of_group(made: &Made, found: &Inspected, task: &TaskConfig, name: &str) -> bool {
    let is_noted = || made.has(&found.id, name);
    is_of_alloc(found, task) || is_noted()
}

/// Whether a container's labels name a task's allocation and node, and no other task.
pub(super) fn is_of(found: &Inspected, task: &TaskConfig) -> bool {
    is_of_alloc(found, task) && ["", task.name.as_str()].contains(&found.label(TASK_NAME))
}

/// Whether a container's labels name a task's allocation and node.
fn is_of_alloc(found: &Inspected, task: &TaskConfig) -> bool {
    let is_named = |name: &str, value: &str| !value.is_empty() && found.label(name) == value;
    is_named(ALLOC_ID, task.alloc_id.as_str()) && is_named(NODE_ID, &task.node_id)
}

/// Whether a container has an image, by its id.
async fn is_of_image(engine: &Engine, found: &Inspected, request: &CreateRequest, image: &str) -> bool {
    let of = found.image.as_str();
    if of.is_empty() || of == image {
        return !of.is_empty();
    }
    // With containerd's image store, a container may name the manifest of the image's platform.
    match engine.inspect_image(of).await {
        Ok(inspected) => inspected.id == image,
        Err(error) if error.is_not_found() => {
            request.body.image.as_ref().is_some_and(|image| *image == found.image_name)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(labels: &[(&str, &str)]) -> Inspected {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Inspected { labels, ..Inspected::default() }
    }

    #[test]
    fn a_container_is_a_tasks_by_all_that_its_labels_say() {
        let task = TaskConfig {
            name: "web".to_owned(),
            alloc_id: "a1".into(),
            node_id: "here".to_owned(),
            ..TaskConfig::default()
        };
        let own = [(ALLOC_ID, "a1"), (NODE_ID, "here")];

        assert!(is_of(&labelled(&own), &task));
        assert!(is_of(&labelled(&[own[0], own[1], (TASK_NAME, "web")]), &task));
        for strange in [
            &[][..],
            &own[..1],
            &own[1..],
            &[(ALLOC_ID, "a2"), own[1]],
            &[own[0], (NODE_ID, "there")],
            &[own[0], (NODE_ID, "")],
            &[own[0], own[1], (TASK_NAME, "other")],
        ] {
            assert!(!is_of(&labelled(strange), &task), "{strange:?}");
        }
        let of_no_node = TaskConfig { node_id: String::new(), ..task };
        assert!(!is_of(&labelled(&[own[0], (NODE_ID, "")]), &of_no_node), "nothing says that it is this node's");
    }
}
