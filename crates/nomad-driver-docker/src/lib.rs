//! The Docker task driver for Nomad. Which module may import which is in ARCHITECTURE.md, and held by `tests/layers.rs`.

mod alloc_paths;
pub mod config;
pub mod container;
mod driver;
mod events;
mod exec;
mod fingerprint;
mod glob;
mod host;
pub mod image;
mod labels;
pub mod machine;
mod made;
mod names;
mod network;
mod node;
pub mod preparation;
mod process;
mod reaper;
pub mod reference;
mod session;
mod settings;
mod stats;
mod task;

pub use driver::DockerDriver;
