//! The engine's networks.

use bollard::{models::NetworkInspect, query_parameters::InspectNetworkOptions};

use super::{Engine, EngineError, QUICK};

impl Engine {
    /// All that the engine knows of a network, by id or name.
    pub async fn inspect_network(&self, network: &str) -> Result<NetworkInspect, EngineError> {
        let call = |docker: bollard::Docker| async move {
            docker.inspect_network(network, None::<InspectNetworkOptions>).await
        };
        self.connection.call(("inspect network", network), QUICK, call).await
    }

    /// The gateway of the network `bridge`; `None` where there is no such network or it has none.
    pub async fn bridge_address(&self) -> Result<Option<String>, EngineError> {
        let network = match self.inspect_network("bridge").await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let pools = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(pools.into_iter().find_map(|pool| pool.gateway).filter(|gateway| !gateway.is_empty()))
    }
}
