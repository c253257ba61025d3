//! Named steps of the driver, at each of which a test ends its process as a crash would, or suspends it.
//!
//! `conformance/tests/kills.rs` finds them in the sources by the name of [`reached`]: a new step is tested by itself. A program
//! that is built for use has none.

use rustix::process::{Signal, getpid, kill_process};

/// The step at which a test ends the process.
const KILL_AT: &str = "LONGSHORE_TEST_KILL_AT";
/// The step at which the process suspends itself, until a test continues it.
const SUSPEND_AT: &str = "LONGSHORE_TEST_SUSPEND_AT";

/// The driver is at a step: what stands before it has happened, and nothing after it.
pub(crate) fn reached(step: &str) {
    for (variable, signal) in [(KILL_AT, Signal::KILL), (SUSPEND_AT, Signal::STOP)] {
        if cfg!(debug_assertions) && std::env::var_os(variable).is_some_and(|at| at == step) {
            let _ended_or_continued = kill_process(getpid(), signal);
        }
    }
}
