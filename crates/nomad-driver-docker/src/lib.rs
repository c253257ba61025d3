//! The Docker task driver for Nomad.

pub mod config;
pub mod container;
pub mod cpuset;
mod driver;
pub mod events;
pub mod exec;
pub mod fingerprint;
pub mod image;
pub mod image_service;
pub mod labels;
pub mod machine;
pub mod made;
pub mod names;
pub mod network;
pub mod node;
pub mod process;
pub mod processors;
pub mod reaper;
pub mod session;
pub mod settings;
pub mod stage;
mod state_file;
pub mod stats;
pub mod task;

pub use driver::DockerDriver;
