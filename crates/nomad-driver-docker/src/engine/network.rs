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
}
