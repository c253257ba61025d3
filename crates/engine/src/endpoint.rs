//! An engine's address, as configured.

use std::path::PathBuf;

/// The address of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `unix://...` or `tcp://...`. If empty, everything comes from the environment: `DOCKER_HOST`, `DOCKER_CERT_PATH` and
    /// `DOCKER_API_VERSION`.
    pub address: String,
    /// For `tcp://`. Only used with an address.
    pub tls: Option<Tls>,
}

/// The files of a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The client's certificate; may be empty.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority that signed the engine's certificate; if empty, the system's authorities.
    pub ca: PathBuf,
}
