//! What a Nomad task driver plugin is: its domain types, its schema language, its server and its client.
//!
//! The word "docker" is not in this crate. A driver implements [`driver::Driver`] and hands it to the server; a host
//! speaks to it through the client. No other crate sees protobuf messages.

pub mod client;
pub mod driver;
pub mod id;
pub mod server;
mod wire;

pub use go_plugin::text;
pub use nomad_values::{duration, hclspec, msgpack};

#[expect(clippy::all, clippy::pedantic, clippy::allow_attributes, unreachable_pub, reason = "generated")]
mod proto;
