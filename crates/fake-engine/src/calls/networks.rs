//! Networks.

use serde_json::json;

use crate::{
    answer::{self, Answer, ApiError},
    call::Call,
    engine::FakeEngine,
    events::Event,
};

pub(super) fn answer(engine: &FakeEngine, method: &str, rest: &str, call: &Call) -> Answer {
    let (name, verb) = rest.split_once('/').unwrap_or((rest, ""));
    let mut world = engine.world();
    let found = world.networks.iter().find(|network| network.id == name || network.name == name).cloned();
    let network = found.ok_or_else(|| ApiError::new(404, format!("network {name} not found")))?;
    let body = &call.request.body;
    let container = body["Container"].as_str().unwrap_or_default().to_owned();
    match (method, verb) {
        ("GET", "") => {
            let interface = if network.name == "bridge" { json!("docker0") } else { json!(null) };
            let inspected = json!({
                "Name": network.name,
                "Id": network.id,
                "Created": crate::clock::YEAR_ONE,
                "Scope": "local",
                "Driver": if network.name == "host" { "host" } else { "bridge" },
                "EnableIPv6": false,
                "IPAM": { "Driver": "default", "Config": [{ "Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1" }] },
                "Internal": false,
                "Containers": {},
                "Options": { "com.docker.network.bridge.name": interface },
                "Labels": {},
            });
            Ok(answer::whole(200, &inspected))
        }
        ("POST", "connect") => {
            let found = world.container_mut(&container)?;
            found.networks.insert(network.name.clone(), body["EndpointConfig"].clone());
            let id = found.id.clone();
            world.log.push(Event::of_network(&network.id, &network.name, "connect", &id));
            Ok(answer::nothing(200))
        }
        ("POST", "disconnect") => {
            world.disconnect(&container, &network.name)?;
            Ok(answer::nothing(200))
        }
        _ => Err(ApiError::no_page()),
    }
}
