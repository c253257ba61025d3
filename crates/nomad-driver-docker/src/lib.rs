//! The Docker task driver for Nomad.

pub mod background;
pub mod engine;
pub mod events;
pub mod exec;
pub mod task;
