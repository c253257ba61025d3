//! Removes Nomad's containers that no task owns any more: leftovers of a crash, a lost reply or a failed removal.
//!
//! A container belongs to this node if this driver recorded that it created it, in a state directory that no other agent's driver
//! uses, or if the container's label says so. One without that label, as created by the driver built into Nomad,
//! also belongs to this node, with two exceptions: the configuration says that this node has never run that driver, or the
//! container mounts the directory of another agent's allocation. Containers of another node's agent that shares the engine are
//! left alone. A network is removed, with its pause container, when its allocation is [over](network::Left::is_over) and nobody
//! asked for that. A stopped pause container whose allocation has no task is dangling, like a task's; a running one may be
//! about to be used.

mod ages;

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use ages::{Ages, Moment};

use nomad_plugin::id::AllocId;

use crate::{
    config::{DanglingContainers, GarbageCollection},
    labels::{ALLOC_ID, NODE_ID},
    made::{self, Made},
    network::{self, Ledger, Left},
    node::Identity,
    preparation::stage,
    session::Session,
    settings::Settings,
    task::{TaskStore, Tasks},
};
use engine::ListedContainer;

/// Runs a pass periodically, forever. `session` returns the current session.
pub(crate) async fn reap(tasks: Tasks, session: impl Fn() -> Arc<Session>) {
    let mut began = false;
    let mut ages = Ages::new(Moment::now());
    {
        let settings = tasks.settings.now();
        tasks.process.node.claim(settings.state_dir()).await;
        made::sweep_half_written(settings.state_dir());
        tasks.end_destroyed(&session());
        stage::sweep(&session().engine, &settings).await;
    }
    loop {
        let DanglingContainers { period, creation_grace, .. } = tasks.settings.now().plugin.gc.dangling;
        // Tasks that are to be recovered get that time.
        let pause = if began { period } else { period.max(creation_grace) };
        began = true;
        tokio::time::sleep(pause.max(Duration::from_secs(1))).await;
        let (session, settings) = (session(), tasks.settings.now());
        tasks.sweep_logs(&session).await;
        // An agent with many tasks hands them over one by one.
        let hands_over = tasks.store.since_recovery().is_some_and(|since| since < creation_grace);
        if settings.plugin.gc.dangling.enabled && !hands_over {
            pass(&tasks, &session, &settings, &mut ages).await;
        }
        stage::sweep(&session.engine, &settings).await;
    }
}

async fn pass(tasks: &Tasks, session: &Session, settings: &Settings, ages: &mut Ages) {
    let (store, gc) = (&tasks.store, &settings.plugin.gc);
    let found = match session.engine.containers_with_label(ALLOC_ID).await {
        Ok(found) => found,
        Err(error) => return tracing::warn!(%error, "failed to look for dangling containers"),
    };
    let is_there = |id: &str| found.iter().any(|found| found.id == id);
    let made = Made::new(settings.state_dir());
    for recorded in [made.destroyed(), made.clone()] {
        recorded.retain(is_there, gc.dangling.creation_grace);
    }
    let ledger = session.networks.ledger().await;
    let networks = ledger.as_ref().map(Ledger::allocs).unwrap_or_default();
    let keys = found.iter().map(|found| found.id.as_str()).chain(networks.iter().map(|(alloc, _)| alloc.as_str()));
    ages.note(keys, Moment::now());
    // Queried after the list was made, so that tasks started meanwhile are known.
    let allocs = found.iter().filter_map(alloc_of).filter(|alloc| has_tasks(alloc, store, &found));
    let begun = found.iter().filter_map(alloc_of).filter(|alloc| store.begins_one_of(&AllocId::from(*alloc)));
    let node = &tasks.process.node;
    let recorded = found.iter().filter(|found| node.owns_state_dir() && is_recorded(found, &made));
    let owned = Owned {
        containers: store.containers(),
        recorded: recorded.map(|found| found.id.as_str()).collect(),
        allocs: allocs.collect(),
        begun: begun.collect(),
        networks: networks.iter().map(|(alloc, _)| alloc.as_str()).collect(),
        node: node.known(),
    };
    for container in found.iter().filter(|found| is_dangling(found, &owned, gc, age(found, ages))) {
        let id = container.id.as_str();
        let names = container.names.join(", ");
        if gc.dangling.dry_run {
            tracing::info!(container = id, names, "dry_run: this container is dangling; it is not removed");
            continue;
        }
        match session.engine.remove_container(id).await {
            Ok(()) => tracing::info!(container = id, names, "removed a dangling container"),
            Err(error) => tracing::error!(container = id, names, %error, "failed to remove a dangling container"),
        }
    }
    if let Some(ledger) = ledger {
        remove_networks(tasks, session, gc, (&found, ages), &ledger).await;
    }
}

/// Removes the networks of allocations that are over.
async fn remove_networks(
    tasks: &Tasks,
    session: &Session,
    gc: &GarbageCollection,
    (found, ages): (&[ListedContainer], &Ages),
    ledger: &Ledger,
) {
    let store = &tasks.store;
    let node = tasks.process.node.known();
    let mut over = networks(found, ages, ledger, &node);
    over.retain(|(alloc, left)| Left { tasks: store.has_tasks_of(alloc), ..*left }.is_over(gc.dangling.creation_grace));
    if over.is_empty() {
        return;
    }
    // Containers without Nomad's labels may be in a network, too.
    let running = match session.engine.running_containers().await {
        Ok(running) => running,
        Err(error) => return tracing::warn!(%error, "failed to look for containers in networks that are over"),
    };
    for (alloc, _) in over {
        let pauses =
            || found.iter().filter(|found| network::is_pause(found) && alloc_of(found) == Some(alloc.as_str()));
        if pauses().any(|pause| running.iter().any(|found| network::joins(found, pause))) {
            continue;
        }
        if gc.dangling.dry_run {
            tracing::info!(%alloc, "dry_run: this network's allocation is over; it is not removed");
            continue;
        }
        match session.networks.destroy_left(&alloc, || !store.has_tasks_of(&alloc)).await {
            Ok(true) => tracing::info!(%alloc, "removed the network of an allocation that is over"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%alloc, %error, "failed to remove the network of an allocation that is over");
            }
        }
    }
}

/// The networks in the ledger, and those that are missing from it, with what is left of their allocations apart from tasks.
fn networks(found: &[ListedContainer], ages: &Ages, ledger: &Ledger, node: &Identity) -> Vec<(AllocId, Left)> {
    let recorded = ledger.allocs().into_iter();
    let mut networks: Vec<_> = recorded.map(|(alloc, age)| (alloc.clone(), ages.of(alloc.as_str(), age))).collect();
    let lost = found.iter().filter(|found| !node.id.is_empty() && node_of(found) == node.id).filter_map(|found| {
        let alloc = AllocId::from(alloc_of(found)?);
        network::is_pause_of(found, &alloc).then(|| (alloc, age(found, ages)))
    });
    let lost: Vec<_> = lost.filter(|(alloc, _)| networks.iter().all(|(known, _)| known != alloc)).collect();
    networks.extend(lost);
    let left = |(alloc, age): (AllocId, Duration)| {
        let of_alloc = || found.iter().filter(|found| alloc_of(found) == Some(alloc.as_str()));
        let pause = of_alloc().find(|found| network::is_pause(found));
        let left = Left {
            tasks: false,
            running: of_alloc().any(|found| !network::is_pause(found) && found.is_running()),
            pause: pause.is_some(),
            requested: ledger.is_over(&alloc),
            directory: ledger.directory(&alloc, node, pause.map(node_of)),
            age,
        };
        (alloc, left)
    };
    networks.into_iter().map(left).collect()
}

/// What is known to be in use, or to be this process's own.
struct Owned<'a> {
    /// Full ids.
    containers: HashSet<String>,
    /// The full ids of those that this driver certainly created, whether or not a task of this process has named the node.
    recorded: HashSet<&'a str>,
    /// Allocations with tasks, of any driver process.
    allocs: HashSet<&'a str>,
    /// Allocations with tasks that are being started or recovered: any of their containers may belong to such a task.
    begun: HashSet<&'a str>,
    /// Allocations whose networks this driver created or joined.
    networks: HashSet<&'a str>,
    /// This node, as far as known.
    node: Identity,
}

pub(crate) fn alloc_of(found: &ListedContainer) -> Option<&str> {
    found.labels.get(ALLOC_ID).map(String::as_str)
}

/// The node id on a container; empty if it has none.
pub(crate) fn node_of(found: &ListedContainer) -> &str {
    found.label(NODE_ID)
}

/// Whether a container has a name that the driver gives to containers of the allocation: an image can carry every label, but it
/// cannot name a container.
pub(crate) fn is_named_for(found: &ListedContainer, alloc: &str) -> bool {
    let is_tasks = |name: &str| name.strip_suffix(alloc).is_some_and(|task| task.ends_with('-'));
    let mut names = found.names.iter();
    !alloc.is_empty() && names.any(|name| is_tasks(name) || network::is_name_of_pause(name, &AllocId::from(alloc)))
}

/// The container's age. If the engine does not say when it was created, that is how long it has been seen.
fn age(found: &ListedContainer, ages: &Ages) -> Duration {
    ages.since(&found.id, found.created_at)
}

/// Whether an allocation has tasks, or containers of tasks.
fn has_tasks(alloc: &str, tasks: &TaskStore, found: &[ListedContainer]) -> bool {
    let is_of_task = |found: &ListedContainer| !network::is_pause(found) && alloc_of(found) == Some(alloc);
    found.iter().any(is_of_task) || tasks.has_tasks_of(&AllocId::from(alloc))
}

/// The parent of the allocation's directory, from a container's mounts; `None` if it mounts none by name.
fn allocs_of(found: &ListedContainer) -> Option<&Path> {
    let alloc = alloc_of(found).filter(|alloc| !alloc.is_empty())?;
    let mut sources = found.mounts.iter().filter_map(|mount| mount.source.as_deref());
    let named = |path: &&Path| path.file_name().is_some_and(|name| name == alloc);
    sources.find_map(|source| source.ancestors().find(named)?.parent())
}

/// Whether this driver recorded a container under one of its names.
fn is_recorded(found: &ListedContainer, made: &Made) -> bool {
    found.names.iter().any(|name| made.has(&found.id, name))
}

fn is_ours(found: &ListedContainer, owned: &Owned<'_>, gc: &GarbageCollection) -> bool {
    let has_our_network = || network::is_pause(found) && alloc_of(found).is_some_and(|of| owned.networks.contains(of));
    match node_of(found) {
        _ if !alloc_of(found).is_some_and(|alloc| is_named_for(found, alloc)) => false,
        _ if owned.recorded.contains(found.id.as_str()) => true,
        "" if has_our_network() => true,
        "" => gc.dangling.unlabelled && allocs_of(found).is_none_or(|allocs| allocs == owned.node.allocs),
        node => node == owned.node.id,
    }
}

fn is_dangling(found: &ListedContainer, owned: &Owned<'_>, gc: &GarbageCollection, age: Duration) -> bool {
    let id = found.id.as_str();
    let is_old = age >= gc.dangling.creation_grace;
    let is_left = if network::is_pause(found) {
        !found.is_running() && alloc_of(found).is_none_or(|alloc| !owned.allocs.contains(alloc))
    } else {
        // An operator who keeps the containers of finished tasks wants to inspect them.
        found.is_running() || gc.container
    };
    let is_used = owned.containers.contains(id) || alloc_of(found).is_some_and(|alloc| owned.begun.contains(alloc));
    !is_used && is_ours(found, owned, gc) && is_old && is_left
}

#[cfg(test)]
mod tests;
