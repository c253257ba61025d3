//! Attacks of a job, an image, a registry or an engine on the driver and its node, one file a kind, against a real engine.
//! docs/security.md has a row for each. `./x attack` runs them all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archives;
mod gates;
mod image_links;
mod labels;
mod log_pipes;
mod long_texts;
mod names_taken;
mod other_drivers;
mod pause_containers;
mod pause_images;
mod pids;
mod planted_records;
mod propagation;
mod rotation_storm;
mod slow_pulls;
mod sockets;
mod staged;
mod swapped;
mod urls;
