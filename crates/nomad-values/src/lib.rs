//! The values that Nomad's jobs and drivers exchange: configuration schemas, msgpack, durations, signals.
//!
//! Pure: no I/O, no runtime, no generated messages. `nomad-plugin` re-exports each item under the path that drivers use.

pub mod duration;
pub mod hclspec;
pub mod msgpack;
pub mod signal;
