//! Which containers are pause containers, and of which allocation.
//!
//! A name says nothing: a task may be called `nomad_init_...`. The driver's own carry a label. Those of earlier versions, and
//! of the driver that is built into Nomad, have only the name; but no task's container is without the directories of its
//! allocation.

use nomad_plugin::id::AllocId;

use super::ledger::Ledger;
use crate::{
    container::{ALLOC_ID, NODE_ID},
    engine::{
        EngineError, FoundContainer,
        model::{ContainerInspectResponse, MountPoint},
    },
    task::Surroundings,
};

/// The label of pause containers. A job cannot set Nomad's labels.
pub(super) const PAUSE: &str = "com.hashicorp.nomad.pause";

/// Where a pause container that follows another one has the namespace.
pub(super) const INSIDE: &str = "/netns";

/// How the names of pause containers begin.
const NAME: &str = "nomad_init_";

/// The name of an allocation's.
pub(super) fn name(alloc: &AllocId) -> String {
    format!("{NAME}{alloc}")
}

/// Whether a container of this name is an allocation's pause container, or one beside it, if it is the driver's.
pub fn is_name_of_pause(container: &str, alloc: &AllocId) -> bool {
    container.strip_prefix(&name(alloc)).is_some_and(|more| more.is_empty() || more.starts_with('-'))
}

/// Whether a container that the engine lists is a pause container.
pub fn is_pause(found: &FoundContainer) -> bool {
    let is_named = || found.names.iter().flatten().any(|name| name.trim_start_matches('/').starts_with(NAME));
    let is_labelled = found.labels.as_ref().is_some_and(|labels| labels.contains_key(PAUSE));
    (is_labelled || is_named()) && !has_directories(found.mounts.as_deref().unwrap_or_default())
}

/// Whether a pause container is the one of an allocation, not one that an attempt left beside it.
pub fn is_pause_of(found: &FoundContainer, alloc: &AllocId) -> bool {
    let pause = name(alloc);
    let is_labelled = found.labels.as_ref().is_some_and(|labels| labels.contains_key(PAUSE));
    let is_named = || found.names.iter().flatten().any(|name| name.trim_start_matches('/') == pause);
    is_pause(found) && (is_labelled || is_named())
}

/// Whether a container has directories of the host, as each task's has.
fn has_directories(mounts: &[MountPoint]) -> bool {
    let is_bind = |mount: &&MountPoint| mount.typ.as_deref() == Some("bind");
    mounts.iter().filter(is_bind).any(|mount| mount.destination.as_deref() != Some(INSIDE))
}

/// Whether a container that has the name of an allocation's pause container is that one. `node` is this node's id, empty
/// where it is not known.
fn is_of(found: &ContainerInspectResponse, alloc: &AllocId, node: &str) -> bool {
    let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
    let is_of_node = label(NODE_ID).is_none_or(|of| of.is_empty() || node.is_empty() || of == node);
    let is_named = || found.name.as_deref().is_some_and(|named| named.trim_start_matches('/') == name(alloc));
    label(ALLOC_ID) == Some(alloc.as_str())
        && is_of_node
        && (label(PAUSE).is_some() || is_named())
        && !has_directories(found.mounts.as_deref().unwrap_or_default())
}

/// The pause container of an allocation, in any state: the one that the ledger has, or else one that says so itself.
pub(super) async fn find(
    around: &Surroundings,
    alloc: &AllocId,
) -> Result<Option<ContainerInspectResponse>, EngineError> {
    if let Some(noted) = Ledger::of(around).await.and_then(|ledger| ledger.pause(alloc))
        && let Some(found) = inspect(around, &noted).await?
    {
        return Ok(Some(found));
    }
    let node = around.node.known().id;
    let Some(named) = inspect(around, &name(alloc)).await? else { return Ok(None) };
    if is_of(&named, alloc, &node) {
        return Ok(Some(named));
    }
    tracing::warn!(%alloc, container = named.id, "somebody else's container has the name of a pause container");
    let listed = around.engine.containers_with_label(&format!("{ALLOC_ID}={alloc}")).await?;
    let own = listed.into_iter().filter(|found| is_pause_of(found, alloc) && super::runs(found));
    for id in own.filter_map(|found| found.id) {
        if let Some(found) = inspect(around, &id).await?
            && is_of(&found, alloc, &node)
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn inspect(around: &Surroundings, container: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
    match around.engine.inspect_container(container).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::ContainerConfig;

    fn mount(destination: &str) -> MountPoint {
        let destination = Some(destination.to_owned());
        MountPoint { typ: Some("bind".to_owned()), destination, ..MountPoint::default() }
    }

    fn inspected(name: &str, labels: &[(&str, &str)], mounts: &[&str]) -> ContainerInspectResponse {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ContainerInspectResponse {
            name: Some(format!("/{name}")),
            config: Some(ContainerConfig { labels: Some(labels), ..ContainerConfig::default() }),
            mounts: Some(mounts.iter().map(|at| mount(at)).collect()),
            ..ContainerInspectResponse::default()
        }
    }

    #[test]
    fn a_pause_container_is_known_by_its_label_or_by_what_no_task_lacks() {
        let found = |name: &str, label: &str, mounts: &[&str]| FoundContainer {
            names: Some(vec![format!("/{name}")]),
            labels: Some([(label.to_owned(), "true".to_owned())].into()),
            mounts: Some(mounts.iter().map(|at| mount(at)).collect()),
            ..FoundContainer::default()
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
