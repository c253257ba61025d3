//! The network that the tasks of an allocation share: that of a pause container.
//!
//! ```text
//! absent -> created -> running -> removed
//!                      ^     \-> dead, its namespace persistent
//!                      \-- healed --/
//! ```

mod create;
mod destroy;
mod group_networks;
mod ledger;
mod left;
mod membership;
mod pause;
mod pause_image;
mod persistent_namespace;
mod removal;
mod supervise;

use std::path::PathBuf;

pub(crate) use group_networks::GroupNetworks;
pub(crate) use ledger::Ledger;
#[cfg(test)]
pub(crate) use left::Directory;
pub(crate) use left::Left;
pub(crate) use membership::Membership;
use nomad_plugin::{driver::DriverError, id::AllocId};
pub(crate) use pause::{is_name_of_pause, is_pause, is_pause_of};
use persistent_namespace::PersistentNamespace;

use crate::labels::SANDBOX_CONTAINER;
use engine::{EngineError, ListedContainer};

/// The path of an allocation's persistent namespace; `None` if there is none.
pub(crate) fn namespace(alloc: &AllocId) -> Option<PathBuf> {
    let persistent = PersistentNamespace::of(alloc);
    persistent.identity().map(|_| persistent.path().to_owned())
}

/// Whether a listed container shares the network of another one.
pub(crate) fn joins(found: &ListedContainer, other: &ListedContainer) -> bool {
    let joined = found.network_mode.strip_prefix("container:").filter(|joined| !joined.is_empty());
    // Engines accept the prefix of an id.
    joined.is_some_and(|joined| other.id.starts_with(joined) || other.names.iter().any(|name| name == joined))
}

fn failed(what: &str, error: &EngineError) -> DriverError {
    // Pause containers are the driver's own, so only a rejection is final; what is missing or in the way may change. Only the
    // loss of a network is fatal.
    let helps = error.is_transient() || error.may_have_happened() || error.is_conflict() || error.is_not_found();
    DriverError::recoverable_or_unsaid(helps, format!("{what}: {error}"))
}
