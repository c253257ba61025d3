//! The Docker task driver for Nomad. Which module may import which is in ARCHITECTURE.md, and held by `tests/layers.rs`.

pub mod alloc_paths;
pub mod config;
pub mod container;
mod driver;
pub mod events;
pub mod exec;
pub mod fingerprint;
mod glob;
pub mod host;
pub mod image;
pub mod labels;
pub mod machine;
pub mod made;
pub mod names;
pub mod network;
pub mod node;
pub mod preparation;
pub mod process;
pub mod reaper;
pub mod reference;
pub mod session;
pub mod settings;
pub mod stats;
pub mod task;

pub use driver::DockerDriver;
