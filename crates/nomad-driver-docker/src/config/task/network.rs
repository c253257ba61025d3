//! The task's addresses and ports.

use std::collections::BTreeMap;

use super::Reader;

pub(super) fn mac_address(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text("mac_address")?;
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let valid = parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !valid {
        reader.problem(format!("failed to parse mac_address {text:?}: six pairs of hexadecimal digits are needed"));
    }
    Some(text)
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
            Ok(port) => {
                ports.insert(label, port.into());
            }
            Err(_) => reader.problem_at("port_map", format!("{port} is no port")),
        }
    }
    ports
}
