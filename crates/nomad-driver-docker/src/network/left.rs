//! Decides whether an allocation is over whose network nobody asked to remove, from what is left of it.
//!
//! An agent sends the removal to a plugin process once, and never repeats it if that process has died. If the process had begun
//! with it, the ledger says so. What the agent does for certain is to remove the allocation's directory, long after the last task. A task that waits for its restart, or a template that
//! waits for its data, leaves no sign of life but that directory.

use std::{fs, io, path::Path, time::Duration};

/// What is left of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Left {
    /// One of its tasks is known, running or starting.
    pub tasks: bool,
    /// A container of one of its tasks is running, or another container that joined its network.
    pub running: bool,
    /// A pause container exists, in any state.
    pub pause: bool,
    /// Its removal was requested of a process that did not finish it.
    pub requested: bool,
    /// The state of its directory.
    pub directory: Directory,
    /// The time since its network was created.
    pub age: Duration,
}

/// The state of an allocation's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    /// It exists.
    There,
    /// It does not exist, but its parent does.
    Removed,
    /// Its parent does not exist either, for example because a disk is not mounted.
    Hidden,
    /// Its path is unknown.
    Unknown,
}

impl Directory {
    /// The state of a directory by its path.
    pub(super) fn at(path: &Path) -> Self {
        match fs::symlink_metadata(path) {
            Ok(_) => Self::There,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir) => {
                Self::Removed
            }
            Err(_) => Self::Hidden,
        }
    }
}

impl Left {
    /// Whether the allocation is over. `grace` is the minimum age of its network.
    pub(crate) fn is_over(self, grace: Duration) -> bool {
        let is_used = self.tasks || self.running;
        let was_removed = match self.directory {
            _ if self.requested => true,
            Directory::There | Directory::Hidden => false,
            Directory::Removed => true,
            // Only a ledger entry, of a network that was never created or has disappeared.
            Directory::Unknown => !self.pause,
        };
        !is_used && was_removed && self.age >= grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(300);

    const OVER: Left =
        Left { tasks: false, running: false, pause: true, requested: false, directory: Directory::Removed, age: GRACE };

    #[test]
    fn an_allocation_is_over_when_nothing_of_it_lives_and_its_directory_was_removed() {
        assert!(OVER.is_over(GRACE));
        assert!(Left { pause: false, ..OVER }.is_over(GRACE));
    }

    #[test]
    fn an_allocation_whose_removal_was_requested_is_over_whatever_its_directory_says() {
        for directory in [Directory::There, Directory::Removed, Directory::Hidden, Directory::Unknown] {
            let requested = Left { requested: true, directory, ..OVER };

            assert!(requested.is_over(GRACE), "{directory:?}");
            assert!(!Left { running: true, ..requested }.is_over(GRACE), "{directory:?}: somebody is in it");
            assert!(!Left { tasks: true, ..requested }.is_over(GRACE), "{directory:?}: a task begins");
        }
    }

    #[test]
    fn any_sign_of_life_holds_the_network() {
        for living in [
            Left { tasks: true, ..OVER },
            Left { running: true, ..OVER },
            Left { directory: Directory::There, ..OVER },
            Left { directory: Directory::There, pause: false, ..OVER },
            Left { directory: Directory::Hidden, ..OVER },
            Left { directory: Directory::Hidden, pause: false, ..OVER },
            Left { directory: Directory::Unknown, ..OVER },
            Left { age: GRACE.checked_sub(Duration::from_secs(1)).unwrap(), ..OVER },
        ] {
            assert!(!living.is_over(GRACE), "{living:?}");
        }
    }

    #[test]
    fn an_entry_alone_is_dropped_where_nobody_knows_the_directory() {
        let entry = Left { pause: false, directory: Directory::Unknown, ..OVER };

        assert!(entry.is_over(GRACE));
        assert!(!Left { tasks: true, ..entry }.is_over(GRACE) && !Left { running: true, ..entry }.is_over(GRACE));
    }
}
