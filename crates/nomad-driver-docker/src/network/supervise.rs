//! Repairs a group's network whose pause container died: another one moves into the persistent namespace.
//!
//! ```text
//! joinable -> dead -> healed
//!               \---> lost, where the namespace is not persistent
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
    Membership, SANDBOX_CONTAINER,
    group_networks::{GroupNetworks, HOSTNAME},
    membership::Network,
    pause::INSIDE,
    pause_image::PauseImage,
    persistent_namespace::{NamespaceIdentity, PersistentNamespace, identity},
};
use crate::events::EventSubject;
use background::{Background, Backoff};
use engine::{
    Inspected, WatchHandle,
    request::{ContainerCreateBody, HostConfig, Mount, MountType},
};

/// How long the program may take to move into the namespace.
const MOVING: Duration = Duration::from_secs(30);

/// The pauses before a failed repair is retried.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

const HEALED: &str = "The network's pause container died; another one holds the same network";

/// The network that a task joins, and the container of it that the host knows.
fn group_of(task: &TaskConfig) -> Option<(&NetworkIsolation, &str)> {
    let isolation = task.network_isolation.as_ref().filter(|network| !network.path.is_empty())?;
    Some((isolation, isolation.labels.get(SANDBOX_CONTAINER)?))
}

impl GroupNetworks {
    /// Ensures that a task's group network is usable, and joins the task to it. `None` if it has none to join.
    pub async fn join(&self, task: &TaskConfig) -> Result<Option<Membership>, DriverError> {
        let Some((isolation, joined)) = group_of(task) else { return Ok(None) };
        let network = self.known.of(&task.alloc_id);
        let subject = EventSubject::from(task);
        let looked = {
            let _turn = network.turn.lock().await;
            // It is large, because an inspected container is.
            Box::pin(self.joinable(&network, &task.alloc_id, isolation)).await
        };
        let container = match looked {
            Ok(found) => found.id,
            Err(error) => {
                self.events.emit(&subject, error.message.as_str(), BTreeMap::new());
                if error.recoverability == Recoverability::Fatal {
                    return Err(error);
                }
                // A network that is not lost is repaired, so a later attempt may succeed.
                self.supervise(&task.alloc_id, isolation);
                return Err(DriverError::recoverable(error.message));
            }
        };
        self.supervise(&task.alloc_id, isolation);
        if container == joined {
            network.notify_of_image(&subject, &container, &self.events);
        } else {
            network.notify(&subject, &container, HEALED, &self.events);
        }
        Ok(Some(network.join(task, container)))
    }

    /// The membership of a running task that joined in an earlier process.
    pub fn rejoin(&self, task: &TaskConfig) -> Option<Membership> {
        let (isolation, joined) = group_of(task)?;
        self.supervise(&task.alloc_id, isolation);
        Some(self.known.of(&task.alloc_id).join(task, joined.to_owned()))
    }

    /// Supervises the network until it is removed: whenever its pause container dies, another one replaces it.
    pub(super) fn supervise(&self, alloc: &AllocId, isolation: &NetworkIsolation) {
        let network = self.known.of(alloc);
        network.supervise(|| {
            let (networks, network) = (self.clone(), network.clone());
            let (alloc, isolation) = (alloc.clone(), isolation.clone());
            Background::persevere("the supervision of a group's network", move || {
                supervise(networks.clone(), network.clone(), alloc.clone(), isolation.clone())
            })
        });
    }

    /// The container whose network the allocation's tasks join, created again if it died. The caller must hold the network's
    /// turn.
    pub(super) async fn joinable(
        &self,
        network: &Network,
        alloc: &AllocId,
        isolation: &NetworkIsolation,
    ) -> Result<Inspected, DriverError> {
        let found = self.pause_container(alloc).await?;
        let persistent = PersistentNamespace::of(alloc);
        let Some(namespace) = persistent.identity() else {
            let found = found.filter(|found| is_the_first(found, isolation)).ok_or_else(lost)?;
            self.persist_namespace(alloc, &found).await;
            self.lease_image_of(network, &found).await;
            return Ok(found);
        };
        if let Some(found) = found {
            if namespace_of(&found) == Some(namespace) {
                self.lease_image_of(network, &found).await;
                return Ok(found);
            }
            self.purge(&found.id).await?;
        }
        // It is rare and large.
        Box::pin(self.another(network, alloc, isolation, (&persistent, namespace))).await
    }

    /// Creates a replacement for a pause container that died, and moves it into the persistent namespace.
    async fn another(
        &self,
        network: &Network,
        alloc: &AllocId,
        isolation: &NetworkIsolation,
        (persistent, namespace): (&PersistentNamespace, NamespaceIdentity),
    ) -> Result<Inspected, DriverError> {
        let image = PauseImage::built_in(&self.images).await?;
        let hostname = self.ledger().await.and_then(|ledger| ledger.persistent(alloc));
        let hostname = hostname.or_else(|| isolation.labels.get(HOSTNAME).cloned());
        let body = body(&image.id, self.labels(alloc), hostname, persistent.path());
        let id = self.start(alloc, body).await?;
        let made = self.moved_in(&id, namespace).await?;
        network.lease_image(image);
        tracing::info!(container = made.id, %alloc, "a pause container died; this one holds the same network");
        Ok(made)
    }

    /// Waits until a container's program is in the namespace.
    async fn moved_in(&self, id: &str, namespace: NamespaceIdentity) -> Result<Inspected, DriverError> {
        let deadline = Instant::now() + MOVING;
        loop {
            let found = self.look_at(id).await?;
            if namespace_of(&found) == Some(namespace) {
                return Ok(found);
            }
            if !found.is_running() || Instant::now() > deadline {
                return Err(DriverError::new("the pause container did not move into the kept network namespace"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn supervise(networks: GroupNetworks, network: Arc<Network>, alloc: AllocId, isolation: NetworkIsolation) {
    let mut watched: Option<(String, WatchHandle)> = None;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let looked = {
            let _turn = network.turn.lock().await;
            networks.joinable(&network, &alloc, &isolation).await
        };
        match looked {
            Ok(found) => {
                backoff.reset();
                let id = found.id;
                match &watched {
                    Some((container, handle)) if *container == id => drop(handle.notified().await),
                    before => {
                        if before.is_some() {
                            network.notify_members(&id, HEALED, &networks.events);
                        }
                        // It may have exited before the watch began, so it is inspected again.
                        let handle = networks.watch.watch(&id);
                        watched = Some((id, handle));
                    }
                }
            }
            Err(error) if error.recoverability == Recoverability::Fatal => {
                return network.notify_members("", &error.message, &networks.events);
            }
            Err(error) => {
                tracing::warn!(%alloc, %error, "failed to repair the group's network; retrying");
                let woken = async {
                    match &watched {
                        Some((_, handle)) => drop(handle.notified().await),
                        None => std::future::pending().await,
                    }
                };
                let _woken_or_time = tokio::time::timeout(backoff.pause(), woken).await;
            }
        }
    }
}

/// Whether a container still has the namespace with which the network was created.
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

/// The network namespace of a container's first process.
fn namespace_of(found: &Inspected) -> Option<NamespaceIdentity> {
    identity(Path::new(&format!("/proc/{}/ns/net", found.pid()?)))
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
            // Required to move into another namespace, including one that SELinux would deny to a container.
            cap_add: Some(vec!["SYS_ADMIN".to_owned()]),
            security_opt: Some(vec!["label=disable".to_owned()]),
            userns_mode: Some("host".to_owned()),
            mounts: Some(vec![mount]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
