//! A group's network whose pause container died: another one moves into the namespace that was kept.
//!
//! ```text
//! joinable -> dead -> healed
//!               \---> lost, where no namespace is kept
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use nomad_plugin::{
    driver::{DriverError, NetworkIsolation, Recoverability, TaskConfig},
    id::AllocId,
};
use tokio::time::Instant;

use super::{
    CONTAINER_ID, HOSTNAME, keep_image, keep_namespace,
    kept::{Identity, KeptNamespace, identity},
    known::Network,
    labels,
    ledger::Ledger,
    look_at,
    pause::INSIDE,
    pause_container,
    pause_image::PauseImage,
    purge, start,
};
use crate::{
    background::Background,
    engine::{
        Inspected, WatchHandle,
        request::{ContainerCreateBody, HostConfig, Mount, MountType},
    },
    events::EventSubject,
    task::{Status, Surroundings, TaskStore},
};

/// How long the program may take to move into the namespace.
const MOVING: Duration = Duration::from_secs(30);

/// How long until a network that could not be healed is looked at again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

const HEALED: &str = "The network's pause container had died; another one keeps the same network";

/// Makes sure that a task finds its group's network; names the container to join in the task's configuration.
pub async fn join(around: &Surroundings, store: &TaskStore, task: &mut TaskConfig) -> Result<(), DriverError> {
    let Some((isolation, joined)) = group_of(task) else { return Ok(()) };
    let network = around.networks.of(&task.alloc_id);
    let looked = {
        let _turn = network.turn.lock().await;
        // It is large, for what the engine knows of a container is.
        Box::pin(joinable(around, &network, &task.alloc_id, isolation)).await
    };
    let container = match looked {
        Ok(found) => found.id,
        Err(error) => {
            around.events.emit(&EventSubject::from(&*task), error.message.as_str(), BTreeMap::new());
            // What is not lost can be healed, if not now: a later attempt may find it so.
            return Err(match error.recoverability {
                Recoverability::Fatal => error,
                _ => DriverError::recoverable(error.message),
            });
        }
    };
    look_after(around, store, &task.alloc_id, isolation);
    if container == joined {
        network.tell_notice(task, &container, &around.events);
    } else {
        network.tell(task, &container, HEALED, &around.events);
        if let Some(isolation) = &mut task.network_isolation {
            isolation.labels.insert(CONTAINER_ID.to_owned(), container);
        }
    }
    Ok(())
}

/// The network that a task joins, and the container of it that its host knows.
fn group_of(task: &TaskConfig) -> Option<(&NetworkIsolation, &str)> {
    let isolation = task.network_isolation.as_ref().filter(|network| !network.path.is_empty())?;
    Some((isolation, isolation.labels.get(CONTAINER_ID)?))
}

/// Looks after the network of a task that runs, if it has one.
pub fn look_after_that_of(around: &Surroundings, store: &TaskStore, task: &TaskConfig) {
    if let Some((isolation, _)) = group_of(task) {
        look_after(around, store, &task.alloc_id, isolation);
    }
}

/// Has the network's pause container followed by another one whenever it dies, until the network is removed.
pub(super) fn look_after(around: &Surroundings, store: &TaskStore, alloc: &AllocId, isolation: &NetworkIsolation) {
    let network = around.networks.of(alloc);
    network.guard(|| {
        let guarding = guard(around.clone(), store.clone(), network.clone(), alloc.clone(), isolation.clone());
        Background::spawn(guarding)
    });
}

async fn guard(
    around: Surroundings,
    store: TaskStore,
    network: Arc<Network>,
    alloc: AllocId,
    isolation: NetworkIsolation,
) {
    let tell_all = |container: &str, message: &str| {
        for task in store.started() {
            let joined = task.config.alloc_id == alloc && group_of(&task.config).is_some();
            if joined && *task.status.borrow() == Status::Running {
                network.tell(&task.config, container, message, &around.events);
            }
        }
    };
    let mut watched: Option<(String, WatchHandle)> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let looked = {
            let _turn = network.turn.lock().await;
            joinable(&around, &network, &alloc, &isolation).await
        };
        match looked {
            Ok(found) => {
                pause = FIRST_PAUSE;
                let id = found.id;
                match &watched {
                    Some((container, handle)) if *container == id => drop(handle.notified().await),
                    before => {
                        if before.is_some() {
                            tell_all(&id, HEALED);
                        }
                        // It may have ended before it was watched, and is looked at again for that.
                        let handle = around.exits.watch(&id);
                        watched = Some((id, handle));
                    }
                }
            }
            Err(error) if error.recoverability == Recoverability::Fatal => return tell_all("", &error.message),
            Err(error) => {
                tracing::warn!(%alloc, %error, "the group's network has no pause container for now");
                let woken = async {
                    match &watched {
                        Some((_, handle)) => drop(handle.notified().await),
                        None => std::future::pending().await,
                    }
                };
                let _woken_or_time = tokio::time::timeout(pause, woken).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The container whose network the allocation's tasks join, made anew where it died. The caller has the network's turn.
pub(super) async fn joinable(
    around: &Surroundings,
    network: &Network,
    alloc: &AllocId,
    isolation: &NetworkIsolation,
) -> Result<Inspected, DriverError> {
    let found = pause_container(around, alloc).await?;
    let kept = KeptNamespace::of(alloc);
    let Some(namespace) = kept.identity() else {
        let found = found.filter(|found| is_the_first(found, isolation)).ok_or_else(lost)?;
        keep_namespace(around, alloc, &found).await;
        keep_image(around, network, &found).await;
        return Ok(found);
    };
    if let Some(found) = found {
        if namespace_of(&found) == Some(namespace) {
            keep_image(around, network, &found).await;
            return Ok(found);
        }
        purge(around, &found.id).await?;
    }
    // It is rare, and large.
    Box::pin(another(around, network, alloc, isolation, (&kept, namespace))).await
}

/// Makes the pause container that follows one that died, and moves it into the kept namespace.
async fn another(
    around: &Surroundings,
    network: &Network,
    alloc: &AllocId,
    isolation: &NetworkIsolation,
    (kept, namespace): (&KeptNamespace, Identity),
) -> Result<Inspected, DriverError> {
    let image = PauseImage::built_in(around).await?;
    let hostname = Ledger::of(around).await.and_then(|ledger| ledger.kept(alloc));
    let hostname = hostname.or_else(|| isolation.labels.get(HOSTNAME).cloned());
    let body = body(&image.id, labels(around, alloc), hostname, kept.path());
    let made = start(around, alloc, body, async |id: &str| moved_in(around, id, namespace).await).await?;
    network.keep_image(image);
    tracing::info!(container = made.id, %alloc, "a pause container had died; this one keeps the same network");
    Ok(made)
}

/// Whether a container still has the namespace with which the network was made.
fn is_the_first(found: &Inspected, isolation: &NetworkIsolation) -> bool {
    found.is_running() && found.sandbox == isolation.path
}

fn lost() -> DriverError {
    let why = if rustix::process::geteuid().is_root() {
        "its namespace was not kept"
    } else {
        "not root: namespaces are not kept"
    };
    DriverError::fatal(format!("the network of the group is lost with its pause container; {why}"))
}

/// The network namespace that a container's first process is in.
fn namespace_of(found: &Inspected) -> Option<Identity> {
    identity(Path::new(&format!("/proc/{}/ns/net", found.pid()?)))
}

/// Waits until a container's program is in the namespace.
async fn moved_in(around: &Surroundings, id: &str, namespace: Identity) -> Result<Inspected, DriverError> {
    let deadline = Instant::now() + MOVING;
    loop {
        let found = look_at(around, id).await?;
        if namespace_of(&found) == Some(namespace) {
            return Ok(found);
        }
        if !found.is_running() || Instant::now() > deadline {
            return Err(DriverError::new("the pause container did not move into the kept network namespace"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn body(
    image: &str,
    labels: HashMap<String, String>,
    hostname: Option<String>,
    namespace: &Path,
) -> ContainerCreateBody {
    let mount = Mount {
        target: Some(INSIDE.to_owned()),
        source: Some(namespace.display().to_string()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        ..Mount::default()
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec![INSIDE.to_owned()]),
        hostname,
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            // What it takes to move into another namespace, also one that SELinux would keep from a container.
            cap_add: Some(vec!["SYS_ADMIN".to_owned()]),
            security_opt: Some(vec!["label=disable".to_owned()]),
            userns_mode: Some("host".to_owned()),
            mounts: Some(vec![mount]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
