//! How much the command prints beside its answers and errors: -q, nothing, -v, -vv.

use std::sync::atomic::{AtomicU8, Ordering};

/// How much is printed to standard error beside errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Verbosity {
    /// Nothing.
    Quiet,
    /// Notes, events of tasks, warnings of the driver.
    Normal,
    /// Also what the driver logs at the level info, or what `LONGSHORE_LOG` selects.
    Info,
    /// Also what it logs at the level debug.
    Debug,
}

/// The verbosity of the command; unit tests print nothing.
static VERBOSITY: AtomicU8 = AtomicU8::new(if cfg!(test) { Verbosity::Quiet } else { Verbosity::Normal } as u8);

/// Sets the verbosity of this process.
pub(crate) fn set(verbosity: Verbosity) {
    VERBOSITY.store(verbosity as u8, Ordering::Relaxed);
}

/// Whether the command prints that much.
pub(crate) fn is_at_least(verbosity: Verbosity) -> bool {
    VERBOSITY.load(Ordering::Relaxed) >= verbosity as u8
}
