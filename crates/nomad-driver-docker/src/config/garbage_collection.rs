//! `gc { ... }`: what is removed after tasks, and when.

use std::time::Duration;

use super::reader::{ONE_MINUTE, Reader};

/// What is removed after tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbageCollection {
    /// Images that no task uses.
    pub image: bool,
    /// How long after its last use.
    pub image_delay: Duration,
    /// Containers of destroyed tasks.
    pub container: bool,
    /// Containers that no task owns.
    pub dangling: DanglingContainers,
}

/// When containers that no task owns are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DanglingContainers {
    /// Whether they are removed at all.
    pub enabled: bool,
    /// The interval between checks.
    pub period: Duration,
    /// The minimum age of such containers.
    pub creation_grace: Duration,
    /// Whether to log them without removing them.
    pub dry_run: bool,
    /// Whether a container without a node label may belong to this node, as those of the built-in driver do.
    pub unlabelled: bool,
}

impl Default for GarbageCollection {
    fn default() -> Self {
        Self {
            image: true,
            image_delay: 3 * ONE_MINUTE,
            container: true,
            dangling: DanglingContainers {
                enabled: true,
                period: 5 * ONE_MINUTE,
                creation_grace: 5 * ONE_MINUTE,
                dry_run: false,
                unlabelled: true,
            },
        }
    }
}

pub(super) fn gc(reader: &Reader<'_>, default: GarbageCollection) -> GarbageCollection {
    let Some(gc) = reader.block("gc") else { return default };
    let image_delay = gc.time("image_delay", default.image_delay);
    let dangling = match gc.block("dangling_containers") {
        None => default.dangling,
        Some(dangling) => DanglingContainers {
            enabled: dangling.truth("enabled").unwrap_or(default.dangling.enabled),
            period: dangling.time("period", default.dangling.period),
            creation_grace: dangling.at_least_a_minute("creation_grace", default.dangling.creation_grace),
            dry_run: dangling.truth("dry_run").unwrap_or(default.dangling.dry_run),
            unlabelled: dangling.truth("unlabelled").unwrap_or(default.dangling.unlabelled),
        },
    };
    GarbageCollection {
        image: gc.truth("image").unwrap_or(default.image),
        image_delay,
        container: gc.truth("container").unwrap_or(default.container),
        dangling,
    }
}
