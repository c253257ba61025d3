//! The Docker task driver for Nomad.

pub mod background;
pub mod engine;
