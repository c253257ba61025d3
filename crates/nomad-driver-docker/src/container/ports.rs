//! Published ports of the container.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use nomad_plugin::driver::{NetworkPort, NetworkResource, PortMapping, Resources, TaskConfig};

use super::{network, rejections::Rejections};
use crate::config::TaskOptions;
use engine::request::PortBinding;

/// Exposed and published ports, each for both protocols.
#[derive(Default)]
pub(super) struct Ports {
    pub(super) exposed: Vec<String>,
    pub(super) bindings: HashMap<String, Option<Vec<PortBinding>>>,
}

impl Ports {
    fn publish(&mut self, host_ip: &str, host_port: i32, container_port: i32, rejections: &mut Rejections) {
        if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
            rejections.add(format!("invalid host address {host_ip:?} of port {host_port}"));
        }
        for protocol in ["tcp", "udp"] {
            let port = format!("{container_port}/{protocol}");
            if !self.exposed.contains(&port) {
                self.exposed.push(port.clone());
            }
            let binding = PortBinding { host_ip: Some(host_ip.to_owned()), host_port: Some(host_port.to_string()) };
            self.bindings.entry(port).or_default().get_or_insert_default().push(binding);
        }
    }
}

/// The container port of a group's port.
fn inside(mapping: &PortMapping) -> i32 {
    if mapping.to == 0 { mapping.value } else { mapping.to }
}

/// The ports of a task.
pub(super) fn ports(task: &TaskConfig, options: &TaskOptions, rejections: &mut Rejections) -> Ports {
    let mut ports = Ports::default();
    let Some(resources) = &task.resources else {
        rejections.add("task.Resources is empty");
        return ports;
    };
    let TaskOptions { ports: labels, port_map, .. } = options;
    let legacy = resources.allocated.as_ref().and_then(|allocated| allocated.networks.first());
    match legacy {
        _ if !labels.is_empty() => of_the_group(task, options, resources, &mut ports, rejections),
        Some(network) => of_a_legacy_network(network, port_map, &mut ports, rejections),
        None if port_map.is_empty() => {}
        None if resources.ports.is_empty() => {
            rejections.add("Trying to map ports but no network interface is available");
        }
        None => rejections.add(NOT_MAPPED),
    }
    ports
}

const NOT_MAPPED: &str = "'port_map' cannot map group network ports, use 'ports' instead";

fn not_found(label: &str) -> String {
    format!("Port {label:?} not found, check network block")
}

/// The ports that `ports` names. A `port_map` next to it has no effect and must agree.
fn of_the_group(
    task: &TaskConfig,
    options: &TaskOptions,
    resources: &Resources,
    ports: &mut Ports,
    rejections: &mut Rejections,
) {
    let published_elsewhere = network::mode(task, options).starts_with("container:");
    let find = |label: &str| resources.ports.iter().find(|mapping| mapping.label == label);
    for label in &options.ports {
        match find(label) {
            Some(_) if published_elsewhere => {}
            Some(mapping) => ports.publish(&mapping.host_ip, mapping.value, inside(mapping), rejections),
            None => rejections.add(not_found(label)),
        }
    }
    for (label, mapped) in &options.port_map {
        if find(label).is_none_or(|mapping| inside(mapping) != *mapped) {
            rejections.add(format!("{NOT_MAPPED}: {label:?}"));
        }
    }
}

/// All ports of a task's own network, the legacy form.
fn of_a_legacy_network(
    network: &NetworkResource,
    port_map: &BTreeMap<String, i32>,
    ports: &mut Ports,
    rejections: &mut Rejections,
) {
    let all = || network.reserved_ports.iter().chain(&network.dynamic_ports);
    for NetworkPort { label, value } in all() {
        let inside = port_map.get(label).copied().unwrap_or(*value);
        ports.publish(&network.ip, *value, inside, rejections);
    }
    for label in port_map.keys().filter(|label| !all().any(|port| port.label == **label)) {
        rejections.add(format!("port_map: {}", not_found(label)));
    }
}
