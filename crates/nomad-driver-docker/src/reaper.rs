//! Removes containers of Nomad's that no task owns any more: what a crash, a lost reply or a failed removal left.
//!
//! A container is this node's where its label says so, or where it has no such label, as the containers of the driver
//! that is built into Nomad, unless the configuration says that this node has never run that driver. Containers of another
//! node's agent that shares the engine are left alone. A network goes, with
//! its pause container, when its allocation has gone without a word: the directory that the ledger of networks has is not
//! there any more, and no container of the allocation's tasks is. A pause container that does not run and whose allocation has
//! no task is as dangling as a task's; one that runs may be about to be used.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use nomad_plugin::id::AllocId;

use crate::{
    config::{DanglingContainers, GarbageCollection},
    container::{ALLOC_ID, NODE_ID},
    engine::FoundContainer,
    network::{self, Ledger, Left},
    task::{Surroundings, TaskStore},
};

/// Looks again and again, for ever. `around` gives what holds at that time.
pub async fn reap(around: impl Fn() -> Surroundings, tasks: TaskStore) {
    let mut began = false;
    {
        let around = around();
        around.node.claim(&around.plugin.state_dir).await;
    }
    loop {
        let DanglingContainers { period, creation_grace, .. } = around().plugin.gc.dangling;
        // Tasks that are to be recovered are given that time.
        let pause = if began { period } else { period.max(creation_grace) };
        began = true;
        tokio::time::sleep(pause.max(Duration::from_secs(1))).await;
        let around = around();
        if around.plugin.gc.dangling.enabled {
            pass(&around, &tasks).await;
        }
    }
}

async fn pass(around: &Surroundings, tasks: &TaskStore) {
    let found = match around.engine.containers_with_label(ALLOC_ID).await {
        Ok(found) => found,
        Err(error) => return tracing::warn!(%error, "dangling containers cannot be looked for"),
    };
    // Asked after the list was made, so that what was started meanwhile is known.
    let allocs = found.iter().filter_map(alloc_of).filter(|alloc| has_tasks(alloc, tasks, &found));
    let owned = Owned { containers: tasks.containers(), allocs: allocs.collect(), node: around.node.known().id };
    let gc = &around.plugin.gc;
    for container in found.iter().filter(|found| is_dangling(found, &owned, gc, SystemTime::now())) {
        let id = container.id.as_deref().unwrap_or_default();
        let names = container.names.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
        if gc.dangling.dry_run {
            tracing::info!(container = id, names, "this container is dangling; dry_run leaves it");
            continue;
        }
        match around.engine.remove_container(id).await {
            Ok(()) => tracing::info!(container = id, names, "removed a dangling container"),
            Err(error) => tracing::error!(container = id, names, %error, "failed to remove a dangling container"),
        }
    }
    networks(around, tasks, &found).await;
}

/// Removes the networks of allocations that have gone.
async fn networks(around: &Surroundings, tasks: &TaskStore, found: &[FoundContainer]) {
    let Some(ledger) = Ledger::of(around).await else { return };
    let has_pause = |alloc: &str| found.iter().any(|found| network::is_pause(found) && alloc_of(found) == Some(alloc));
    for (alloc, age) in ledger.allocs() {
        let left = Left { tasks: has_tasks(alloc.as_str(), tasks, found), pause: has_pause(alloc.as_str()) };
        if age < around.plugin.gc.dangling.creation_grace || !ledger.has_gone(&alloc, left) {
            continue;
        }
        if around.plugin.gc.dangling.dry_run {
            tracing::info!(%alloc, "the allocation of this network has gone; dry_run leaves it");
            continue;
        }
        match network::destroy(around, &alloc, None).await {
            Ok(()) => tracing::info!(%alloc, "removed the network of an allocation that has gone"),
            Err(error) => {
                tracing::error!(%alloc, %error, "failed to remove the network of an allocation that has gone");
            }
        }
    }
}

/// What this process knows to be in use.
struct Owned<'a> {
    /// Full ids.
    containers: HashSet<String>,
    /// Allocations with tasks, whoever's.
    allocs: HashSet<&'a str>,
    /// This node's id; empty where it is not known.
    node: String,
}

fn alloc_of(found: &FoundContainer) -> Option<&str> {
    found.labels.as_ref()?.get(ALLOC_ID).map(String::as_str)
}

/// Whether an allocation has tasks, or containers of them.
fn has_tasks(alloc: &str, tasks: &TaskStore, found: &[FoundContainer]) -> bool {
    let is_of_task = |found: &FoundContainer| !network::is_pause(found) && alloc_of(found) == Some(alloc);
    found.iter().any(is_of_task) || tasks.has_tasks_of(&AllocId::from(alloc))
}

fn is_dangling(found: &FoundContainer, owned: &Owned<'_>, gc: &GarbageCollection, now: SystemTime) -> bool {
    let id = found.id.as_deref().unwrap_or_default();
    let node = found.labels.as_ref().and_then(|labels| labels.get(NODE_ID)).map_or("", String::as_str);
    let created = Duration::from_secs(found.created.and_then(|at| u64::try_from(at).ok()).unwrap_or(u64::MAX));
    let age = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().checked_sub(created);
    let is_old = age.is_some_and(|age| age >= gc.dangling.creation_grace);
    let is_left = if network::is_pause(found) {
        !network::runs(found) && alloc_of(found).is_none_or(|alloc| !owned.allocs.contains(alloc))
    } else {
        // An operator who keeps the containers of ended tasks wants to look at them.
        network::runs(found) || gc.container
    };
    let is_ours = if node.is_empty() { gc.dangling.unlabelled } else { node == owned.node };
    !owned.containers.contains(id) && is_ours && is_old && is_left
}

#[cfg(test)]
mod tests {
    use crate::{config::PluginConfig, engine::model::ContainerSummaryStateEnum as State};

    use super::*;

    const NOW: u64 = 1_000_000;

    fn found(id: &str, name: &str, state: State, age: u64, node: Option<&str>) -> FoundContainer {
        let node = node.map(|node| (NODE_ID.to_owned(), node.to_owned()));
        let alloc = (ALLOC_ID.to_owned(), name.rsplit('-').next().unwrap().to_owned());
        FoundContainer {
            id: Some(id.to_owned()),
            names: Some(vec![format!("/{name}")]),
            state: Some(state),
            created: Some((NOW - age).try_into().unwrap()),
            labels: Some(node.into_iter().chain([alloc]).collect()),
            ..FoundContainer::default()
        }
    }

    fn dangling(found: &FoundContainer, change: impl Fn(&mut GarbageCollection)) -> bool {
        let containers = ["mine".to_owned()].into();
        let owned = Owned { containers, allocs: ["used"].into(), node: "here".to_owned() };
        let mut gc = PluginConfig::default().gc;
        change(&mut gc);
        is_dangling(found, &owned, &gc, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    #[test]
    fn what_no_task_owns_is_dangling_in_any_state() {
        for state in [State::RUNNING, State::PAUSED, State::CREATED, State::EXITED, State::DEAD] {
            assert!(dangling(&found("lost", "web-1", state, 300, Some("here")), |_| ()), "{state}");
            assert!(dangling(&found("lost", "web-1", state, 300, None), |_| ()), "{state}, of the built-in driver");
        }
    }

    #[test]
    fn a_pause_container_is_dangling_when_it_does_not_run_and_its_allocation_has_no_task() {
        let pause = |name: &str, state, age, node| dangling(&found("pause", name, state, age, node), |_| ());
        for state in [State::CREATED, State::EXITED, State::DEAD] {
            assert!(pause("nomad_init_-gone", state, 300, None), "{state}");
            assert!(!pause("nomad_init_-used", state, 300, None), "{state}, of an allocation with tasks");
            assert!(!pause("nomad_init_-gone", state, 299, None), "{state}, young");
            assert!(!pause("nomad_init_-gone", state, 300, Some("there")), "{state}, a stranger's");
        }
        for state in [State::RUNNING, State::PAUSED, State::RESTARTING] {
            assert!(!pause("nomad_init_-gone", state, 300, None), "{state}");
        }
        let keep = |gc: &mut GarbageCollection| gc.container = false;
        assert!(dangling(&found("pause", "nomad_init_-gone", State::EXITED, 300, None), keep), "nobody looks at it");
    }

    #[test]
    fn tasks_young_ones_and_strangers_are_not() {
        let not = [
            found("mine", "web-1", State::RUNNING, 300, Some("here")),
            found("young", "web-1", State::RUNNING, 299, Some("here")),
            found("strange", "web-1", State::RUNNING, 300, Some("there")),
            FoundContainer::default(),
        ];
        for found in not {
            assert!(!dangling(&found, |_| ()), "{found:?}");
        }
    }

    #[test]
    fn what_has_no_nodes_label_is_nobodys_where_the_built_in_driver_has_never_run() {
        let never_built_in = |gc: &mut GarbageCollection| gc.dangling.unlabelled = false;

        for state in [State::RUNNING, State::CREATED, State::EXITED] {
            assert!(!dangling(&found("agents", "web-1", state, 300, None), never_built_in), "{state}");
            assert!(!dangling(&found("agents", "web-1", state, 300, Some("")), never_built_in), "{state}, empty");
            assert!(dangling(&found("lost", "web-1", state, 300, Some("here")), never_built_in), "{state}");
        }
        assert!(!dangling(&found("agents", "nomad_init_-gone", State::EXITED, 300, None), never_built_in));
    }

    #[test]
    fn ended_containers_stay_where_the_operator_keeps_them() {
        let keep = |gc: &mut GarbageCollection| gc.container = false;

        assert!(!dangling(&found("lost", "web-1", State::EXITED, 300, None), keep));
        assert!(dangling(&found("lost", "web-1", State::RUNNING, 300, None), keep));
    }
}
