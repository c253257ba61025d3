//! Identifies pause containers, and their allocations.
//!
//! A name proves nothing: a task may be called `nomad_init_...`. The driver's own pause containers carry a label. Those of
//! earlier versions, and of the driver built into Nomad, have only the name; but every task's container mounts the directories
//! of its allocation.

use nomad_plugin::id::AllocId;

use crate::labels::{ALLOC_ID, NODE_ID};
use engine::{Engine, EngineError, Inspected, ListedContainer, MountPoint};

/// The label of pause containers. A job cannot set Nomad's labels.
pub(super) const PAUSE: &str = "com.hashicorp.nomad.pause";

/// Where a replacement pause container has the namespace.
pub(super) const INSIDE: &str = "/netns";

/// The prefix of pause containers' names.
const NAME: &str = "nomad_init_";

/// The name of an allocation's pause container.
pub(super) fn name(alloc: &AllocId) -> String {
    format!("{NAME}{alloc}")
}

/// Whether a container of this name would be an allocation's pause container, or a spare one, if it is the driver's.
pub(crate) fn is_name_of_pause(container: &str, alloc: &AllocId) -> bool {
    container.strip_prefix(&name(alloc)).is_some_and(|more| more.is_empty() || more.starts_with('-'))
}

/// Whether a listed container is a pause container.
pub(crate) fn is_pause(found: &ListedContainer) -> bool {
    let is_named = || found.names.iter().any(|name| name.starts_with(NAME));
    let is_labelled = found.labels.contains_key(PAUSE);
    (is_labelled || is_named()) && !has_directories(&found.mounts)
}

/// Whether a listed container is the pause container of an allocation, rather than a leftover of another attempt.
pub(crate) fn is_pause_of(found: &ListedContainer, alloc: &AllocId) -> bool {
    let pause = name(alloc);
    let is_labelled = found.labels.contains_key(PAUSE);
    let is_named = || found.names.contains(&pause);
    is_pause(found) && (is_labelled || is_named())
}

/// Whether a container mounts host directories, as every task's does.
fn has_directories(mounts: &[MountPoint]) -> bool {
    mounts.iter().any(|mount| mount.is_bind && mount.destination != INSIDE)
}

/// Whether a container with the name of an allocation's pause container is that one. `node` is this node's id, empty if
/// unknown.
fn is_of(found: &Inspected, alloc: &AllocId, node: &str) -> bool {
    found.labels.get(ALLOC_ID).is_some_and(|of| of == alloc.as_str())
        && is_of_node(found.label(NODE_ID), node)
        && (found.labels.contains_key(PAUSE) || found.name == name(alloc))
        && !has_directories(&found.mounts)
}

/// Finds the pause container of an allocation, in any state: the one in the ledger, or else one that identifies itself.
///
/// `noted` is the id in the ledger; `node` is this node's id, empty if unknown.
pub(super) async fn find(
    engine: &Engine,
    alloc: &AllocId,
    noted: Option<&str>,
    node: &str,
) -> Result<Option<Inspected>, EngineError> {
    if let Some(noted) = noted
        && let Some(found) = inspect(engine, noted).await?
    {
        return Ok(Some(found));
    }
    let Some(named) = inspect(engine, &name(alloc)).await? else { return Ok(None) };
    if is_of(&named, alloc, node) {
        return Ok(Some(named));
    }
    tracing::warn!(%alloc, container = named.id, "another container has the name of a pause container");
    let own = all(engine, alloc, node).await?;
    for id in own.into_iter().filter(ListedContainer::is_running).map(|found| found.id) {
        if let Some(found) = inspect(engine, &id).await?
            && is_of(&found, alloc, node)
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// All pause containers of an allocation, in any state, under whatever name of a pause container. `node` is this node's id, empty
/// if unknown.
pub(super) async fn all(engine: &Engine, alloc: &AllocId, node: &str) -> Result<Vec<ListedContainer>, EngineError> {
    let mut found = engine.containers_with_label(&format!("{ALLOC_ID}={alloc}")).await?;
    found.retain(|found| {
        let is_named = found.names.iter().any(|name| is_name_of_pause(name, alloc));
        is_named && is_pause(found) && is_of_node(found.label(NODE_ID), node)
    });
    Ok(found)
}

/// Whether a container with this label may be this node's. `node` is this node's id, empty if unknown.
fn is_of_node(label: &str, node: &str) -> bool {
    label.is_empty() || node.is_empty() || label == node
}

async fn inspect(engine: &Engine, container: &str) -> Result<Option<Inspected>, EngineError> {
    match engine.inspect_container(container).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(destination: &str) -> MountPoint {
        MountPoint { is_bind: true, destination: destination.to_owned(), ..MountPoint::default() }
    }

    fn inspected(name: &str, labels: &[(&str, &str)], mounts: &[&str]) -> Inspected {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Inspected {
            name: name.to_owned(),
            labels,
            mounts: mounts.iter().map(|at| mount(at)).collect(),
            ..Inspected::default()
        }
    }

    #[test]
    fn a_pause_container_is_known_by_its_label_or_by_what_no_task_lacks() {
        let found = |name: &str, label: &str, mounts: &[&str]| ListedContainer {
            names: vec![name.to_owned()],
            labels: [(label.to_owned(), "true".to_owned())].into(),
            mounts: mounts.iter().map(|at| mount(at)).collect(),
            ..ListedContainer::default()
        };

        assert!(is_pause(&found("any", PAUSE, &[])) && is_pause(&found("any", PAUSE, &[INSIDE])));
        assert!(is_pause(&found("nomad_init_a1", "other", &[])), "the built-in driver's");
        for name in ["nomad_init_x-a1", "nomad_init_a1"] {
            for label in [PAUSE, "other"] {
                assert!(!is_pause(&found(name, label, &["/alloc", "/local"])), "{name} of a task");
            }
        }
        assert!(!is_pause(&found("web-a1", "other", &[])));
    }

    #[test]
    fn a_pause_container_is_an_allocations_by_label_and_node() {
        let own = [(ALLOC_ID, "a1"), (NODE_ID, "here"), (PAUSE, "true")];
        let is = |name: &str, labels: &[(&str, &str)], mounts: &[&str], node: &str| {
            is_of(&inspected(name, labels, mounts), &"a1".into(), node)
        };

        assert!(is("nomad_init_a1", &own, &[], "here") && is("nomad_init_a1-2", &own, &[INSIDE], "here"));
        assert!(is("nomad_init_a1", &own, &[], ""), "this node is not known");
        assert!(is("nomad_init_a1", &own[..1], &[], "here"), "the built-in driver's");
        assert!(!is("other", &own[..2], &[], "here"));
        assert!(!is("nomad_init_a1", &own[1..], &[], "here"), "of no allocation");
        assert!(!is("nomad_init_a1", &[(ALLOC_ID, "a2"), own[2]], &[], "here"), "another allocation's");
        assert!(!is("nomad_init_a1", &own, &[], "there"), "another node's");
        assert!(!is("nomad_init_a1", &own, &["/alloc"], "here"), "a task's");
    }
}
