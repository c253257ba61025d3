//! The Docker task driver for Nomad.

pub mod background;
pub mod config;
pub mod container;
pub mod engine;
pub mod events;
pub mod exec;
pub mod task;
