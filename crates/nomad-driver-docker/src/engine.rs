//! The Docker calls that the driver makes, as verbs, each with its own deadline; the only place that knows the client
//! library.

mod connection;
mod container;
mod error;
mod events;
mod exec;
mod image;
mod logs;
mod network;
mod persist;
mod system;
mod tcp;
mod terminal;

use std::{sync::Arc, time::Duration};

pub use connection::{Endpoint, Tls};
pub use container::FoundContainer;
pub use error::{Cause, EngineError};
pub use events::{ContainerEvent, ContainerEventKind};
pub use exec::{ExecOutput, ExecStream, ExecTerminal};
pub use image::{Credentials, PullProgress};
pub use logs::LogFrame;
pub use persist::persist;
pub use system::{ApiVersion, EngineFacts, EngineName};

/// The engine's own data shapes.
pub mod model {
    pub use bollard::models::*;
}

/// Calls that ask no more than whether the engine answers.
const ALIVE: Duration = Duration::from_secs(10);
/// Calls that only read what the engine has in memory.
const QUICK: Duration = Duration::from_secs(30);
/// Calls for which the engine asks a registry: longer than it waits for one itself.
const REGISTRY: Duration = Duration::from_secs(120);
/// Calls that make the engine touch disks, networks or a runtime, and those about a container for which it does so: they
/// have to wait until it is done.
const SLOW: Duration = Duration::from_secs(300);

/// A Docker Engine, connected to when first needed. Clones share the connection and what is known of the engine.
#[derive(Clone)]
pub struct Engine {
    connection: Arc<connection::Connection>,
}

impl Engine {
    /// An engine at an endpoint. Nothing is asked of it yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { connection: Arc::new(connection::Connection::new(endpoint)) }
    }

    /// Where the engine is, for messages.
    pub fn address(&self) -> &str {
        self.connection.address()
    }

    /// Whether the engine is on this host, so that its files can be read.
    pub fn is_local(&self) -> bool {
        self.connection.address().starts_with("unix://")
    }
}
