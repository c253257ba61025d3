//! Ports of the container on the host.

use std::{collections::HashMap, net::IpAddr};

use nomad_plugin::driver::{NetworkPort, TaskConfig};

use super::{ContainerError, network};
use crate::{config::TaskOptions, engine::model::PortBinding};

/// What is exposed and where it is published; both protocols each.
#[derive(Default)]
pub(super) struct Ports {
    pub(super) exposed: Vec<String>,
    pub(super) bindings: HashMap<String, Option<Vec<PortBinding>>>,
}

impl Ports {
    fn publish(&mut self, host_ip: &str, host_port: i32, container_port: i32) -> Result<(), ContainerError> {
        if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
            return Err(ContainerError(format!("invalid host address {host_ip:?} of port {host_port}")));
        }
        for protocol in ["tcp", "udp"] {
            let port = format!("{container_port}/{protocol}");
            if !self.exposed.contains(&port) {
                self.exposed.push(port.clone());
            }
            let binding = PortBinding { host_ip: Some(host_ip.to_owned()), host_port: Some(host_port.to_string()) };
            self.bindings.entry(port).or_default().get_or_insert_default().push(binding);
        }
        Ok(())
    }
}

/// The ports of a task.
pub(super) fn ports(task: &TaskConfig, options: &TaskOptions) -> Result<Ports, ContainerError> {
    let resources = task.resources.as_ref().ok_or_else(|| ContainerError("task.Resources is empty".to_owned()))?;
    let mut ports = Ports::default();
    if !options.ports.is_empty() {
        let published_elsewhere = network::mode(task, options).starts_with("container:");
        for label in &options.ports {
            let mapping = resources.ports.iter().find(|mapping| mapping.label == *label);
            let mapping =
                mapping.ok_or_else(|| ContainerError(format!("Port {label:?} not found, check network block")))?;
            if published_elsewhere {
                continue;
            }
            let inside = if mapping.to == 0 { mapping.value } else { mapping.to };
            ports.publish(&mapping.host_ip, mapping.value, inside)?;
        }
        return Ok(ports);
    }
    let legacy = resources.allocated.as_ref().and_then(|allocated| allocated.networks.first());
    if let Some(network) = legacy {
        for NetworkPort { label, value } in network.reserved_ports.iter().chain(&network.dynamic_ports) {
            let inside = options.port_map.get(label).copied().unwrap_or(*value);
            ports.publish(&network.ip, *value, inside)?;
        }
    } else if !options.port_map.is_empty() {
        return Err(ContainerError(if resources.ports.is_empty() {
            "Trying to map ports but no network interface is available".to_owned()
        } else {
            "'port_map' cannot map group network ports, use 'ports' instead".to_owned()
        }));
    }
    Ok(ports)
}
