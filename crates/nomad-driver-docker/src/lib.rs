//! The Docker task driver for Nomad. ARCHITECTURE.md says which module may import which, and `tests/layers.rs` enforces it.

mod alloc_paths;
mod checkpoint;
pub mod config;
pub mod container;
mod driver;
mod events;
mod exec;
mod fingerprint;
mod garbage;
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
