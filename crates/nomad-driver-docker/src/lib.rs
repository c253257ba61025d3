//! The Docker task driver for Nomad.

pub mod background;
pub mod config;
pub mod container;
pub mod cpuset;
mod driver;
pub mod engine;
pub mod events;
pub mod exec;
pub mod fingerprint;
pub mod half_made;
pub mod image;
pub mod image_service;
pub mod logs;
pub mod made;
pub mod network;
pub mod node;
pub mod processors;
pub mod reaper;
pub mod stage;
mod state_file;
pub mod stats;
pub mod task;

pub use driver::DockerDriver;
