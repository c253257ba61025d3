//! The container's networks, and the address that results.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nomad_plugin::driver::{NetworkOverride, TaskConfig};

use super::ContainerError;
use crate::{
    config::{TaskNetwork, TaskOptions},
    labels::SANDBOX_CONTAINER,
    names::container_name,
};
use engine::{
    Addresses, ApiVersion, Inspected,
    request::{EndpointIpamConfig, EndpointSettings, NetworkingConfig},
};

/// Older engines accept a MAC address only for a container's single network, and not in the endpoint settings.
const MAC_OF_A_NETWORK: ApiVersion = ApiVersion { major: 1, minor: 44 };

/// The network mode: the job's, the group's, or the engine's default.
pub(super) fn mode(task: &TaskConfig, options: &TaskOptions) -> String {
    if let Some(sibling) = sibling(task, options) {
        return format!("container:{sibling}");
    }
    if let Some(mode) = &options.network_mode {
        return mode.clone();
    }
    let group = task.network_isolation.as_ref().filter(|network| !network.path.is_empty());
    match group.and_then(|network| network.labels.get(SANDBOX_CONTAINER)) {
        Some(container) => format!("container:{container}"),
        None => "default".to_owned(),
    }
}

/// The container of the sibling task whose network this task joins by `network_mode = "task:NAME"`.
pub fn sibling(task: &TaskConfig, options: &TaskOptions) -> Option<String> {
    let name = options.network_mode.as_ref()?.strip_prefix("task:")?;
    Some(container_name(&TaskConfig {
        name: name.to_owned(),
        alloc_id: task.alloc_id.clone(),
        ..TaskConfig::default()
    }))
}

/// Name servers; invalid addresses are skipped and logged.
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

/// Names and addresses requested by the job.
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
    if mode.starts_with("container:") {
        let set = [
            ("network_aliases", !network_aliases.is_empty()),
            ("ipv4_address", ipv4_address.is_some()),
            ("ipv6_address", ipv6_address.is_some()),
            ("mac_address", mac_address.is_some()),
        ];
        let set: Vec<&str> = set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        let set = set.join(", ");
        return Err(ContainerError(format!("{set}: a task in the network of another container has none of its own")));
    }
    let endpoint = EndpointSettings {
        mac_address: mac_address.clone(),
        ..endpoint(network_aliases, *ipv4_address, *ipv6_address)
    };
    Ok(Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(mode.to_owned(), endpoint)])) }))
}

fn endpoint(aliases: &[String], ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) -> EndpointSettings {
    let ipam = (ipv4.is_some() || ipv6.is_some()).then(|| EndpointIpamConfig {
        ipv4_address: ipv4.map(|address| address.to_string()),
        ipv6_address: ipv6.map(|address| address.to_string()),
        ..EndpointIpamConfig::default()
    });
    EndpointSettings {
        aliases: (!aliases.is_empty()).then(|| aliases.to_vec()),
        ipam_config: ipam,
        ..EndpointSettings::default()
    }
}

/// The networks to connect after creation: engines before API 1.44 create a container with only one.
pub(super) fn additional(options: &TaskOptions) -> Vec<(String, EndpointSettings)> {
    let additional = options.networks.iter();
    additional
        .map(|TaskNetwork { name, aliases, ipv4_address, ipv6_address }| {
            (name.clone(), endpoint(aliases, *ipv4_address, *ipv6_address))
        })
        .collect()
}

/// An address of a container.
struct Candidate<'a> {
    network: &'a str,
    address: &'a str,
    is_ipv6: bool,
}

/// The address to advertise. The job's preferred network comes first, then the job's order, then the order of names; within a
/// network, the job's preferred address family.
pub fn driver_network(inspected: &Inspected, options: &TaskOptions) -> NetworkOverride {
    let addresses = inspected.networks.iter().flat_map(|(network, Addresses { ipv4, ipv6 })| {
        [(ipv4, false), (ipv6, true)]
            .map(|(address, is_ipv6)| (!address.is_empty()).then_some(Candidate { network, address, is_ipv6 }))
    });
    let order: Vec<&str> = (options.advertise_network.iter())
        .chain(&options.network_mode)
        .chain(options.networks.iter().map(|network| &network.name))
        .map(String::as_str)
        .collect();
    let best = addresses.flatten().min_by_key(|Candidate { network, is_ipv6, .. }| {
        let place = order.iter().position(|named| named == network).unwrap_or(order.len());
        (place, *network, *is_ipv6 != options.advertise_ipv6_address)
    });
    let port_map = options.port_map.clone();
    match best {
        None => NetworkOverride { port_map, ..NetworkOverride::default() },
        Some(Candidate { network, address, is_ipv6 }) => NetworkOverride {
            port_map,
            addr: address.to_owned(),
            auto_advertise: (is_ipv6 && options.advertise_ipv6_address) || !matches!(network, "bridge" | "nat"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(networks: &[(&str, &str, &str)]) -> Inspected {
        let addresses = |ipv4: &str, ipv6: &str| Addresses { ipv4: ipv4.to_owned(), ipv6: ipv6.to_owned() };
        let networks = networks.iter().map(|(name, ipv4, ipv6)| ((*name).to_owned(), addresses(ipv4, ipv6))).collect();
        Inspected { networks, ..Inspected::default() }
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

    #[test]
    fn the_advertised_address_is_of_the_network_that_the_job_prefers_or_names_first() {
        let all = inspected(&[("a", "10.1.0.2", "fd01::2"), ("b", "10.2.0.2", ""), ("c", "", "fd03::2")]);
        let named = |names: &[&str]| {
            let network = |name: &&str| TaskNetwork { name: (*name).to_owned(), ..TaskNetwork::default() };
            names.iter().map(network).collect::<Vec<_>>()
        };
        let additional =
            TaskOptions { network_mode: Some("b".into()), networks: named(&["c", "a"]), ..Default::default() };
        let advertised = |options: &TaskOptions| driver_network(&all, options).addr;

        assert_eq!(advertised(&TaskOptions::default()), "10.1.0.2");
        assert_eq!(advertised(&additional), "10.2.0.2");
        assert_eq!(advertised(&TaskOptions { advertise_network: Some("a".into()), ..additional.clone() }), "10.1.0.2");
        // A network with addresses of the other family only.
        assert_eq!(advertised(&TaskOptions { advertise_network: Some("c".into()), ..additional.clone() }), "fd03::2");
        assert_eq!(advertised(&TaskOptions { advertise_ipv6_address: true, ..additional }), "10.2.0.2");
    }
}
