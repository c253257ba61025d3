//! Lists what a node has and nobody owns, and removes it on request: containers, networks, images, records.
//!
//! Unlike the [reaper](crate::reaper) this needs no grace: the caller says what it owns, and nobody else starts tasks of the
//! node meanwhile, or this process is the one that does.

mod verdict;

use std::path::Path;

use engine::{Engine, ListedContainer};
use image_service::{Claims, Collect, Kind, Leftover, Reason, Remove};
use logs::Records;
use nomad_plugin::{driver::TaskConfig, id::AllocId};

use crate::{
    labels::{ALLOC_ID, NODE_ID},
    made::Made,
    names::container_name,
    network,
    preparation::stage,
    reaper::alloc_of,
    session::Session,
    settings::Settings,
    task::Tasks,
};
use verdict::Owned;

/// A node whose garbage is collected.
pub(crate) struct Home<'a> {
    /// Its tasks, as far as a process knows them.
    pub tasks: &'a Tasks,
    /// Its engine.
    pub session: &'a Session,
    /// The state directory in which no driver removes records; `None` if there is none, or if its driver runs.
    pub unattended: Option<&'a Path>,
}

/// Lists what nobody owns, and removes it if that is requested. An error is a text for people.
pub(crate) async fn collect(home: &Home<'_>, request: &Collect) -> Result<Vec<Leftover>, String> {
    let (engine, networks) = (&home.session.engine, &home.session.networks);
    // Read first: whatever has a record by now is in the engine's list, or it does not exist.
    let recorded = home.unattended.map(recorded).unwrap_or_default();
    let all = engine.all_containers().await.map_err(|error| error.to_string())?;
    let in_ledger = match networks.ledger().await {
        Some(ledger) => {
            ledger.allocs().into_iter().map(|(alloc, _)| (ledger.pause(&alloc), alloc.to_string())).collect()
        }
        None => Vec::new(),
    };
    // Queried after the list was made, so that tasks started meanwhile are known.
    let owned = owned(home, request, &all, &in_ledger);
    let left = owned.left(&all);
    let mut leftovers = Vec::new();
    for (found, reason) in &left {
        leftovers.extend(container(home, request.remove, found, *reason, &all).await);
    }
    let in_ledger = in_ledger.into_iter().map(|(_, alloc)| alloc).collect();
    for alloc in owned.networks(in_ledger, &left, &all) {
        leftovers.push(network(home, request.remove, &alloc).await);
    }
    let others: Vec<ListedContainer> =
        all.iter().filter(|found| !left.iter().any(|(left, _)| left.id == found.id)).cloned().collect();
    leftovers.extend(images(home, request, &others).await);
    let settings = home.tasks.settings.now();
    if home.unattended.is_some() {
        let settings = &settings;
        leftovers.extend(records(engine, settings, request.remove, recorded, &all).await?);
        let remains = |found: &ListedContainer| !left.iter().any(|(left, _)| left.id == found.id);
        leftovers.extend(stages(engine, settings, request.remove, remains).await);
    }
    Ok(leftovers)
}

/// The nodes that containers name, of those whose ids are paths directly below a directory.
pub(crate) async fn nodes(engine: &Engine, below: &Path) -> Result<Vec<String>, String> {
    let all = engine.containers_with_label(ALLOC_ID).await.map_err(|error| error.to_string())?;
    let is_below = |node: &str| Path::new(node).parent() == Some(below);
    let mut nodes: Vec<String> =
        all.iter().map(|found| found.label(NODE_ID)).filter(|node| is_below(node)).map(str::to_owned).collect();
    nodes.sort();
    nodes.dedup();
    Ok(nodes)
}

/// What has an owner: by the request, and as this process knows.
fn owned(home: &Home<'_>, request: &Collect, all: &[ListedContainer], in_ledger: &[(Option<String>, String)]) -> Owned {
    let (store, networks) = (&home.tasks.store, &home.session.networks);
    let Claims { tasks, allocs } = &request.claims;
    let claimed = |(alloc, name): &(String, String)| {
        let task = TaskConfig { alloc_id: alloc.as_str().into(), name: name.clone(), ..TaskConfig::default() };
        (alloc.clone(), container_name(&task))
    };
    let of_containers = all.iter().filter_map(alloc_of).chain(in_ledger.iter().map(|(_, alloc)| alloc.as_str()));
    let having = |has: &dyn Fn(&AllocId) -> bool| -> Vec<String> {
        of_containers.clone().filter(|alloc| has(&AllocId::from(*alloc))).map(str::to_owned).collect()
    };
    let has_network = |alloc: &AllocId| networks.has(alloc) || store.has_tasks_of(alloc);
    Owned {
        node: request.node.clone(),
        containers: store.containers(),
        tasks: tasks.iter().map(claimed).collect(),
        begun: having(&|alloc| store.begins_one_of(alloc)).into_iter().collect(),
        pauses: in_ledger.iter().filter_map(|(pause, _)| pause.clone()).collect(),
        networks: allocs.iter().cloned().chain(having(&has_network)).collect(),
        keeps_ended: !home.tasks.settings.now().plugin.gc.container,
    }
}

/// A container with its records and its anonymous volumes, which are removed with it.
async fn container(
    home: &Home<'_>,
    remove: Remove,
    found: &ListedContainer,
    reason: Reason,
    all: &[ListedContainer],
) -> Vec<Leftover> {
    let removed = match remove {
        Remove::No => None,
        Remove::Yes => {
            let removed = home.session.engine.remove_container(&found.id).await;
            if let (Ok(()), Some(state_dir)) = (&removed, home.unattended) {
                forget(state_dir, &found.id);
            }
            Some(removed.map_err(|error| error.to_string()))
        }
    };
    let own = Leftover {
        kind: Kind::Container,
        id: found.id.clone(),
        name: found.names.join(", "),
        reason,
        removed: removed.clone(),
    };
    let volume = |name: &str| Leftover {
        kind: Kind::Volume,
        id: name.to_owned(),
        name: String::new(),
        reason: Reason::OfGarbage,
        removed: removed.clone(),
    };
    let volumes = verdict::volumes(found, all).into_iter().map(volume);
    [own].into_iter().chain(volumes).collect()
}

/// A network without its pause containers, which are removed before.
async fn network(home: &Home<'_>, remove: Remove, alloc: &str) -> Leftover {
    let (networks, store) = (&home.session.networks, &home.tasks.store);
    let id = AllocId::from(alloc);
    let namespace = network::namespace(&id);
    let removed = match remove {
        Remove::No => None,
        Remove::Yes => match networks.destroy_left(&id, || !store.has_tasks_of(&id)).await {
            Ok(true) => Some(Ok(())),
            Ok(false) => Some(Err("a task of its allocation has started".to_owned())),
            Err(error) => Some(Err(error.to_string())),
        },
    };
    Leftover {
        kind: Kind::Network,
        id: alloc.to_owned(),
        name: namespace.map(|path| path.display().to_string()).unwrap_or_default(),
        reason: Reason::AllocationOver,
        removed,
    }
}

/// The images that this node's driver pulled and nobody uses. `others` are the containers that are not removed.
async fn images(home: &Home<'_>, request: &Collect, others: &[ListedContainer]) -> Vec<Leftover> {
    let images = &home.session.images;
    let mut leftovers = Vec::new();
    for (id, names) in images.unused() {
        if others.iter().any(|found| found.image == id) {
            continue;
        }
        let removed = match request.remove {
            Remove::No => None,
            Remove::Yes => Some(images.remove_unused(&id).await),
        };
        let name = names.into_iter().collect::<Vec<_>>().join(", ");
        leftovers.push(Leftover { kind: Kind::Image, id, name, reason: Reason::Unused, removed });
    }
    leftovers
}

/// The containers that have records in a state directory.
fn recorded(state_dir: &Path) -> Vec<String> {
    let made = Made::new(state_dir);
    let mut recorded = [made.ids(), made.destroyed().ids(), Records::new(state_dir).containers()].concat();
    recorded.sort();
    recorded.dedup();
    recorded
}

/// Removes a container's records.
fn forget(state_dir: &Path, id: &str) {
    let made = Made::new(state_dir);
    made.forget(id);
    made.destroyed().forget(id);
    Records::new(state_dir).remove(id);
}

/// The records of containers that do not exist.
async fn records(
    engine: &Engine,
    settings: &Settings,
    remove: Remove,
    recorded: Vec<String>,
    all: &[ListedContainer],
) -> Result<Vec<Leftover>, String> {
    let state_dir = settings.state_dir();
    let mut leftovers = Vec::new();
    for id in recorded.into_iter().filter(|id| !all.iter().any(|found| found.id.starts_with(id.as_str()))) {
        let is_absent = engine.inspect_container(&id).await.is_err_and(|error| error.is_not_found());
        if !is_absent {
            continue;
        }
        if remove == Remove::Yes {
            forget(state_dir, &id);
        }
        let left = self::recorded(state_dir).contains(&id);
        leftovers.push(file(&state_dir.join("containers").join(id), remove, left));
    }
    Ok(leftovers)
}

/// The mounts of containers that do not exist, or do not remain.
async fn stages(
    engine: &Engine,
    settings: &Settings,
    remove: Remove,
    remains: impl Fn(&ListedContainer) -> bool,
) -> Vec<Leftover> {
    let left = stage::left(engine, settings, remains).await;
    if remove == Remove::Yes && !left.is_empty() {
        stage::sweep(engine, settings).await;
    }
    left.into_iter().map(|stage| (stage.exists(), stage)).map(|(left, stage)| file(&stage, remove, left)).collect()
}

/// A file, which is left or not after its removal.
fn file(path: &Path, remove: Remove, left: bool) -> Leftover {
    let removed = match (remove, left) {
        (Remove::No, _) => None,
        (Remove::Yes, false) => Some(Ok(())),
        (Remove::Yes, true) => Some(Err("failed to remove it; the driver's log says why".to_owned())),
    };
    Leftover {
        kind: Kind::File,
        id: path.display().to_string(),
        name: String::new(),
        reason: Reason::NoContainer,
        removed,
    }
}
