//! The task's networks, addresses and ports.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::Reader;

/// A task's endpoint in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskNetwork {
    /// The network.
    pub name: String,
    /// Additional names in it.
    pub aliases: Vec<String>,
    /// The address in it.
    pub ipv4_address: Option<Ipv4Addr>,
    /// The address in it.
    pub ipv6_address: Option<Ipv6Addr>,
}

/// All of a task's networks.
pub(super) struct Attachment {
    pub(super) mode: Option<String>,
    /// The names and addresses in the network of `mode`.
    pub(super) first: TaskNetwork,
    pub(super) additional: Vec<TaskNetwork>,
    pub(super) advertised: Option<String>,
}

/// Whether a mode is not a network: it shares another container's network, or has none.
fn is_alone(mode: &str) -> bool {
    matches!(mode, "host" | "none") || mode.starts_with("container:") || mode.starts_with("task:")
}

pub(super) fn place(reader: &Reader<'_>) -> Attachment {
    let mode = reader.text("network_mode");
    if mode.as_deref() == Some("task:") {
        reader.problem_at("network_mode", "\"task:\" needs the name of a task of the group");
    }
    joined(reader, mode.as_deref());
    let first = network(reader, "network_aliases", mode.clone().unwrap_or_default());
    let mut additional: Vec<TaskNetwork> = Vec::new();
    for block in reader.blocks("networks") {
        let Some(name) = block.text("name") else {
            block.problem_at("name", "must be set");
            continue;
        };
        if is_alone(&name) || name == "default" {
            block.problem_at("name", format!("{name:?} is a network mode, not a network"));
        }
        if !is_name(&name) {
            block.problem_at("name", no_name(&name));
        }
        if first.name == name || additional.iter().any(|other| other.name == name) {
            block.problem_at("name", format!("{name:?} is there already"));
        }
        additional.push(network(&block, "aliases", name));
    }
    if let Some(mode) = mode.as_deref().filter(|mode| is_alone(mode) && !additional.is_empty()) {
        reader.problem_at("networks", format!("a task with network_mode {mode:?} can be in no other network"));
    }
    let advertised = reader.text("advertise_network");
    let own = match mode.as_deref() {
        Some("default") => Some("bridge"),
        None if additional.is_empty() => Some("bridge"),
        own => own,
    };
    let names: Vec<&str> = own.into_iter().chain(additional.iter().map(|network| network.name.as_str())).collect();
    if let Some(name) = advertised.as_deref().filter(|name| !names.contains(name)) {
        reader.problem_at("advertise_network", format!("{name:?} is no network of the task: {}", names.join(", ")));
    }
    if mode.is_some() || additional.is_empty() {
        return Attachment { mode, first, additional, advertised };
    }
    if first != TaskNetwork::default() {
        let options = "network_aliases, ipv4_address and ipv6_address are of network_mode";
        reader.problem_at("networks", format!("{options}, which is not set; write them into a block"));
    }
    let first = additional.remove(0);
    Attachment { mode: Some(first.name.clone()), first, additional, advertised }
}

/// Whether a text is a valid name by Docker's rule.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && text.bytes().all(is_inner)
}

fn no_name(text: &str) -> String {
    format!(
        "must be a name of letters, digits, \"_\", \".\" and \"-\" that begins with a letter or digit, this is {text:?}"
    )
}

/// Checks the container or task whose network a mode joins.
fn joined(reader: &Reader<'_>, mode: Option<&str>) {
    let Some((kind @ ("container" | "task"), name)) = mode.and_then(|mode| mode.split_once(':')) else { return };
    // A task's container has "_" in place of slashes.
    let name = if kind == "task" { name.replace('/', "_") } else { name.to_owned() };
    if !name.is_empty() && !is_name(&name) {
        reader.problem_at("network_mode", format!("the {kind} {}", no_name(&name)));
    }
}

fn network(reader: &Reader<'_>, aliases: &str, name: String) -> TaskNetwork {
    TaskNetwork {
        name,
        aliases: self::aliases(reader, aliases),
        ipv4_address: address(reader, "ipv4_address"),
        ipv6_address: address(reader, "ipv6_address"),
    }
}

pub(super) fn mac_address(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text("mac_address")?;
    let address = normal_mac(&text);
    if address.is_none() {
        reader.problem(format!("failed to parse mac_address {text:?}: six pairs of hexadecimal digits are needed"));
    }
    address
}

/// Normalizes an address in one of the forms `00:00:5e:00:53:01`, `00-00-5e-00-53-01`, `0000.5e00.5301` to the first one.
fn normal_mac(text: &str) -> Option<String> {
    let (separator, width) = match text.find([':', '-', '.']).map(|at| &text[at..=at]) {
        Some(dot @ ".") => (dot, 4),
        Some(other) => (other, 2),
        None => return None,
    };
    let groups: Vec<&str> = text.split(separator).collect();
    let valid = groups.iter().all(|group| group.len() == width && group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let digits = groups.concat().to_lowercase();
    let pairs: Vec<&str> =
        if valid { (0..digits.len() / 2).map(|at| &digits[2 * at..2 * at + 2]).collect() } else { Vec::new() };
    (pairs.len() == 6).then(|| pairs.join(":"))
}

/// Additional names in the network, none of them empty.
fn aliases(reader: &Reader<'_>, option: &str) -> Vec<String> {
    let aliases = reader.texts(option).unwrap_or_default();
    for (index, alias) in aliases.iter().enumerate() {
        if alias.trim().is_empty() {
            reader.problem_at(&format!("{option}[{index}]"), format!("must be a name, this is {alias:?}"));
        }
    }
    aliases
}

/// Port labels, each once: the engine cannot publish a port twice.
pub(super) fn ports(reader: &Reader<'_>) -> Vec<String> {
    let ports = reader.texts("ports").unwrap_or_default();
    for (index, label) in ports.iter().enumerate() {
        if ports[..index].contains(label) {
            reader.problem_at(&format!("ports[{index}]"), format!("{label:?} is there already"));
        }
    }
    ports
}

fn address<A: std::str::FromStr<Err = std::net::AddrParseError>>(reader: &Reader<'_>, name: &str) -> Option<A> {
    let text = reader.text(name)?;
    text.parse().map_err(|error| reader.problem(format!("failed to parse {name} {text:?}: {error}"))).ok()
}

pub(super) fn port_map(reader: &Reader<'_>) -> BTreeMap<String, i32> {
    let mut ports = BTreeMap::new();
    for (label, port) in reader.int_map("port_map").unwrap_or_default() {
        match u16::try_from(port) {
            Ok(port @ 1..) => {
                ports.insert(label, port.into());
            }
            _ => reader.problem_at(&format!("port_map.{label}"), format!("{port} is no port")),
        }
    }
    ports
}
