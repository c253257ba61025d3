//! HashiCorp go-plugin over gRPC, both ends: the server a plugin runs, and the client a host runs.
//!
//! Nothing here knows what the plugin is for: a caller provides its own gRPC services and its own cookie.

mod auto_mtls;
pub mod client;
mod handshake;
pub mod hclog;
pub mod server;
pub use plain_text as text;

pub use auto_mtls::TlsError;
pub use handshake::{Handshake, HandshakeError, HandshakeLine, Multiplex};

#[expect(clippy::all, clippy::pedantic, clippy::allow_attributes, unreachable_pub, reason = "generated")]
mod proto;
