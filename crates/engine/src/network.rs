//! The engine's networks.

use std::net::{IpAddr, Ipv4Addr};

use bollard::{
    models::{EndpointSettings, NetworkConnectRequest, NetworkInspect},
    query_parameters::InspectNetworkOptions,
};

use super::{
    Engine, EngineError, QUICK, SLOW,
    error::with,
    route::{Answer, Route},
};

/// The option of a bridge network that names its interface on the engine's host.
const INTERFACE: &str = "com.docker.network.bridge.name";

impl Engine {
    /// Everything the engine knows of a network, by id or name.
    pub async fn inspect_network(&self, network: &str) -> Result<NetworkInspect, EngineError> {
        let call = |docker: bollard::Docker, network: String| async move {
            docker.inspect_network(&network, None::<InspectNetworkOptions>).await
        };
        let route = Route::about("/networks/", network, "", Answer::Thing);
        let inspected = self.connection.ask("inspect network", route, QUICK, call).await?;
        with("Id", inspected, |inspected| inspected.id.is_some())
    }

    /// Connects a container to a network.
    pub async fn connect_network(
        &self,
        network: &str,
        container: &str,
        endpoint: EndpointSettings,
    ) -> Result<(), EngineError> {
        let request = NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(endpoint) };
        let call =
            |docker: bollard::Docker, network: String| async move { docker.connect_network(&network, request).await };
        let route = Route::about("/networks/", network, "/connect", Answer::Short);
        self.connection.call("connect network", route, SLOW, call).await
    }

    /// The host's address in the network `bridge`; `None` if the network or its address does not exist.
    pub async fn bridge_address(&self) -> Result<Option<IpAddr>, EngineError> {
        let network = match self.inspect_network("bridge").await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let interface = |name: &str| if self.is_local() { interface_address(name) } else { None };
        Ok(host_address(network, interface))
    }
}

/// The gateway of a network. An engine that created the network at its own first start reports none until it is restarted;
/// until then, the address of the network's interface is used.
fn host_address(network: NetworkInspect, interface: impl Fn(&str) -> Option<Ipv4Addr>) -> Option<IpAddr> {
    let pools = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let gateway = pools.into_iter().find_map(|pool| pool.gateway?.parse().ok());
    gateway.or_else(|| interface(network.options?.get(INTERFACE)?).map(IpAddr::V4))
}

/// The first IPv4 address of an interface of this host.
fn interface_address(name: &str) -> Option<Ipv4Addr> {
    let mut addresses = nix::ifaddrs::getifaddrs().ok()?.filter(|address| address.interface_name == name);
    addresses.find_map(|address| Some(address.address?.as_sockaddr_in()?.ip()))
}

#[cfg(test)]
mod tests {
    use bollard::models::{Ipam, IpamConfig};

    use super::*;

    fn network(gateways: &[Option<&str>]) -> NetworkInspect {
        let pool = |gateway: Option<&str>| IpamConfig { gateway: gateway.map(str::to_owned), ..IpamConfig::default() };
        let ipam = Ipam { config: Some(gateways.iter().copied().map(pool).collect()), ..Ipam::default() };
        let options = [(INTERFACE.to_owned(), "docker7".to_owned())].into();
        NetworkInspect { ipam: Some(ipam), options: Some(options), ..NetworkInspect::default() }
    }

    #[test]
    fn the_first_gateway_is_the_hosts_address() {
        let address = host_address(network(&[None, Some(""), Some("10.9.0.1"), Some("fd00::1")]), |_| None);

        assert_eq!(address, Some(IpAddr::from([10, 9, 0, 1])));
    }

    #[test]
    fn a_network_without_a_gateway_has_the_address_of_its_interface() {
        let interface = |name: &str| (name == "docker7").then_some(Ipv4Addr::new(172, 17, 0, 1));

        assert_eq!(host_address(network(&[None]), interface), Some(IpAddr::from([172, 17, 0, 1])));
        assert_eq!(host_address(network(&[]), |_| None), None);
        assert_eq!(host_address(NetworkInspect::default(), interface), None);
    }

    #[test]
    fn an_interface_of_this_host_is_asked_for_its_address() {
        assert_eq!(interface_address("lo"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(interface_address("no-such-interface"), None);
    }
}
