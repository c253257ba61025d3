//! The container's place in a network, and the address that comes out of it.

use std::{collections::HashMap, net::IpAddr};

use nomad_plugin::driver::{NetworkOverride, TaskConfig};

use super::ContainerError;
use crate::{
    config::TaskOptions,
    engine::{
        ApiVersion,
        model::{ContainerInspectResponse, EndpointIpamConfig, EndpointSettings, NetworkingConfig},
    },
};

/// The label under which a group's network names its pause container; Nomad reads it as well.
const SANDBOX_CONTAINER: &str = "docker_sandbox_container_id";

/// Older engines take an address of a network card for a container's one network only, and not from here.
const MAC_OF_A_NETWORK: ApiVersion = ApiVersion { major: 1, minor: 44 };

/// The network mode: the job's, the group's, or the engine's default.
pub(super) fn mode(task: &TaskConfig, options: &TaskOptions) -> String {
    if let Some(mode) = &options.network_mode {
        return mode.clone();
    }
    let group = task.network_isolation.as_ref().filter(|network| !network.path.is_empty());
    match group.and_then(|network| network.labels.get(SANDBOX_CONTAINER)) {
        Some(container) => format!("container:{container}"),
        None => "default".to_owned(),
    }
}

/// Name servers; what is no address is left out and logged.
pub(super) fn dns_servers(options: &TaskOptions) -> Vec<String> {
    let valid = |server: &&String| {
        let valid = server.parse::<IpAddr>().is_ok();
        if !valid {
            tracing::error!(server, "invalid ip address for container dns server");
        }
        valid
    };
    options.dns_servers.iter().filter(valid).cloned().collect()
}

/// Names and addresses that the job asks for.
pub(super) fn networking_config(
    options: &TaskOptions,
    mode: &str,
    api: ApiVersion,
) -> Result<Option<NetworkingConfig>, ContainerError> {
    let TaskOptions { network_aliases, ipv4_address, ipv6_address, mac_address, .. } = options;
    if network_aliases.is_empty() && ipv4_address.is_none() && ipv6_address.is_none() && mac_address.is_none() {
        return Ok(None);
    }
    if mac_address.is_some() && api < MAC_OF_A_NETWORK {
        return Err(ContainerError(format!(
            "\"specify mac-address per network\" requires API version {MAC_OF_A_NETWORK}, but the Docker daemon API \
             version is {api}"
        )));
    }
    let ipam = (ipv4_address.is_some() || ipv6_address.is_some()).then(|| EndpointIpamConfig {
        ipv4_address: ipv4_address.map(|address| address.to_string()),
        ipv6_address: ipv6_address.map(|address| address.to_string()),
        ..EndpointIpamConfig::default()
    });
    let endpoint = EndpointSettings {
        aliases: (!network_aliases.is_empty()).then(|| network_aliases.clone()),
        ipam_config: ipam,
        mac_address: mac_address.clone(),
        ..EndpointSettings::default()
    };
    Ok(Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(mode.to_owned(), endpoint)])) }))
}

/// The address that a started container has: the first by its network's name.
pub fn driver_network(inspected: &ContainerInspectResponse, options: &TaskOptions) -> NetworkOverride {
    let networks = inspected.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let mut with_address: Vec<(&String, &EndpointSettings, &String)> = networks
        .into_iter()
        .flatten()
        .filter_map(|(name, endpoint)| {
            let address = endpoint.ip_address.as_ref().filter(|address| !address.is_empty())?;
            Some((name, endpoint, address))
        })
        .collect();
    with_address.sort_by_key(|(name, ..)| *name);
    if with_address.len() > 1 {
        tracing::warn!(container = inspected.id, "the task has more than one network; the first by name is used");
    }
    let port_map = options.port_map.clone();
    let Some((name, endpoint, address)) = with_address.first() else {
        return NetworkOverride { port_map, ..NetworkOverride::default() };
    };
    let ipv6 = endpoint.global_ipv6_address.as_ref().filter(|address| !address.is_empty());
    match ipv6.filter(|_| options.advertise_ipv6_address) {
        Some(address) => NetworkOverride { port_map, addr: address.clone(), auto_advertise: true },
        None => NetworkOverride {
            port_map,
            addr: (*address).clone(),
            auto_advertise: !matches!(name.as_str(), "bridge" | "nat"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::NetworkSettings;

    fn inspected(networks: &[(&str, &str, &str)]) -> ContainerInspectResponse {
        let endpoint = |address: &str, ipv6: &str| EndpointSettings {
            ip_address: Some(address.to_owned()),
            global_ipv6_address: Some(ipv6.to_owned()),
            ..EndpointSettings::default()
        };
        let networks = networks.iter().map(|(name, ip, ipv6)| ((*name).to_owned(), endpoint(ip, ipv6))).collect();
        let settings = NetworkSettings { networks: Some(networks), ..NetworkSettings::default() };
        ContainerInspectResponse { network_settings: Some(settings), ..ContainerInspectResponse::default() }
    }

    #[test]
    fn the_default_bridge_is_not_advertised_and_other_networks_are() {
        let options = TaskOptions::default();
        let bridge = driver_network(&inspected(&[("bridge", "172.17.0.2", "")]), &options);
        assert_eq!((bridge.addr.as_str(), bridge.auto_advertise), ("172.17.0.2", false));
        let own = driver_network(&inspected(&[("web", "10.1.0.2", ""), ("z", "10.2.0.2", "")]), &options);
        assert_eq!((own.addr.as_str(), own.auto_advertise), ("10.1.0.2", true));
        assert_eq!(driver_network(&inspected(&[("host", "", "")]), &options), NetworkOverride::default());
    }

    #[test]
    fn an_ipv6_address_is_advertised_on_demand() {
        let options = TaskOptions { advertise_ipv6_address: true, ..TaskOptions::default() };
        let network = driver_network(&inspected(&[("bridge", "172.17.0.2", "2001:db8::2")]), &options);
        assert_eq!((network.addr.as_str(), network.auto_advertise), ("2001:db8::2", true));
    }
}
