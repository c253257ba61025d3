//! Tests the driver as its host sees it, against a scripted engine, without root, Docker or packages.
//!
//! The clock is paused: what takes the driver minutes takes a test milliseconds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod case;
mod created;
mod dangling;
mod destroy;
mod exec;
mod exit_watching;
mod healing;
mod images_in_use;
mod network_faults;
mod privileges;
mod recover;
mod settings;
mod start;
mod stop;
mod stopped_for_good;
mod store;
mod unanswered_pulls;
mod watch_exit;
