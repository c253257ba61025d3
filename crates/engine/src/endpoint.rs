//! Where an engine is, as it is configured.

use std::path::PathBuf;

/// Where the engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `unix://...` or `tcp://...`; where empty, the environment says that and all else: `DOCKER_HOST`,
    /// `DOCKER_CERT_PATH` and `DOCKER_API_VERSION`.
    pub address: String,
    /// For `tcp://`. Only used with an address.
    pub tls: Option<Tls>,
}

/// The files of a connection by TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The client's certificate; empty is none.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority that signed the engine's certificate; empty is one that the system trusts.
    pub ca: PathBuf,
}
