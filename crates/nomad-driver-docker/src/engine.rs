//! The Docker calls that the driver makes, as verbs; the only place that knows the client library.

/// The engine's own data shapes.
pub mod model {
    pub use bollard::models::*;
}
