//! The task's addresses and ports.

use std::collections::BTreeMap;

use super::Reader;

pub(super) fn mac_address(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text("mac_address")?;
    let address = normal_mac(&text);
    if address.is_none() {
        reader.problem(format!("failed to parse mac_address {text:?}: six pairs of hexadecimal digits are needed"));
    }
    address
}

/// `00:00:5e:00:53:01` of an address in one of the forms `00:00:5e:00:53:01`, `00-00-5e-00-53-01`, `0000.5e00.5301`.
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

/// Further names in the network, none of them empty.
pub(super) fn aliases(reader: &Reader<'_>) -> Vec<String> {
    let aliases = reader.texts("network_aliases").unwrap_or_default();
    for (index, alias) in aliases.iter().enumerate() {
        if alias.trim().is_empty() {
            reader.problem_at(&format!("network_aliases[{index}]"), format!("must be a name, this is {alias:?}"));
        }
    }
    aliases
}

/// Labels of ports, each once: the engine cannot publish one port twice.
pub(super) fn ports(reader: &Reader<'_>) -> Vec<String> {
    let ports = reader.texts("ports").unwrap_or_default();
    for (index, label) in ports.iter().enumerate() {
        if ports[..index].contains(label) {
            reader.problem_at(&format!("ports[{index}]"), format!("{label:?} is there already"));
        }
    }
    ports
}

pub(super) fn address<A: std::str::FromStr<Err = std::net::AddrParseError>>(
    reader: &Reader<'_>,
    name: &str,
) -> Option<A> {
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
