//! The engine's details of a container.

use serde_json::{Map, Value, json};

use crate::{
    clock::written,
    model::{Container, State, seconds},
    world::World,
};

/// The response to an inspect.
pub(super) fn inspected(world: &World, container: &Container) -> Value {
    let mut config = container.request.clone();
    if let Some(config) = config.as_object_mut() {
        config.remove("HostConfig");
        config.remove("NetworkingConfig");
        config.insert("Labels".to_owned(), json!(container.labels));
        let hostname = config.get("Hostname").and_then(Value::as_str).filter(|name| !name.is_empty());
        let hostname = hostname.unwrap_or(&container.id[..12]).to_owned();
        config.insert("Hostname".to_owned(), json!(hostname));
    }
    let host = match &container.request["HostConfig"] {
        Value::Object(host) => host.clone(),
        _ => Map::new(),
    };
    json!({
        "Id": container.id,
        "Created": written(Some(container.created_at)),
        "Path": "/bin/sh",
        "Args": [],
        "State": state(container),
        "Image": container.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": format!("{0}/containers/{1}/{1}-json.log", world.root, container.id),
        "Name": format!("/{}", container.name),
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(host),
        "Mounts": mounts(container),
        "Config": config,
        "NetworkSettings": {
            "Bridge": "",
            "SandboxID": container.id,
            "SandboxKey": container.sandbox_key(),
            "Ports": {},
            "IPAddress": address(container),
            "Networks": networks(world, container),
        },
    })
}

fn state(container: &Container) -> Value {
    let (status, code, oom_killed) = match container.state {
        State::Created => ("created", 0, false),
        State::Running => ("running", 0, false),
        State::Restarting => ("restarting", 1, false),
        State::Exited { code, oom_killed } => ("exited", code, oom_killed),
        State::Dead => ("dead", 0, false),
    };
    json!({
        "Status": status,
        "Running": matches!(container.state, State::Running | State::Restarting),
        "Paused": false,
        "Restarting": container.state == State::Restarting,
        "OOMKilled": oom_killed,
        "Dead": container.state == State::Dead,
        "Pid": container.pid,
        "ExitCode": code,
        "Error": "",
        "StartedAt": written(container.started_at),
        "FinishedAt": written(container.finished_at),
    })
}

/// The logging driver is the engine's default if none was requested.
fn host_config(mut host: Map<String, Value>) -> Value {
    let driver = host.get("LogConfig").and_then(|log| log["Type"].as_str()).filter(|driver| !driver.is_empty());
    if driver.is_none() {
        host.insert("LogConfig".to_owned(), json!({ "Type": "json-file", "Config": {} }));
    }
    host.entry("NetworkMode").or_insert_with(|| json!("default"));
    Value::Object(host)
}

/// Of binds and mounts.
pub(super) fn mounts(container: &Container) -> Value {
    let host = &container.request["HostConfig"];
    let bind = |bind: &Value| {
        let mut parts = bind.as_str().unwrap_or_default().splitn(3, ':');
        let (source, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mode = parts.next().unwrap_or_default();
        let is_writable = !mode.split(',').any(|option| option == "ro");
        json!({
            "Type": "bind", "Source": source, "Destination": target, "Mode": mode, "RW": is_writable,
            "Propagation": "rprivate",
        })
    };
    let mount = |mount: &Value| {
        json!({
            "Type": mount["Type"], "Source": mount["Source"].as_str().unwrap_or_default(), "Destination": mount["Target"],
            "Mode": "", "RW": mount["ReadOnly"] != json!(true), "Propagation": "rprivate",
        })
    };
    let binds = host["Binds"].as_array().into_iter().flatten().map(bind);
    binds.chain(host["Mounts"].as_array().into_iter().flatten().map(mount)).collect()
}

fn address(container: &Container) -> Value {
    let bridge = container.networks.get("bridge").filter(|_| container.is_running());
    bridge.map_or_else(|| json!(""), |endpoint| endpoint["IPAddress"].clone())
}

fn networks(world: &World, container: &Container) -> Value {
    let endpoint = |(name, endpoint): (&String, &Value)| {
        let mut settings = json!({
            "IPAMConfig": null, "Links": null, "Aliases": null, "NetworkID": world.network_id(name), "EndpointID": "",
            "Gateway": "172.17.0.1", "IPAddress": "172.17.0.2", "IPPrefixLen": 16, "MacAddress": "02:42:ac:11:00:02",
        });
        for (key, value) in endpoint.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            settings[key] = value.clone();
        }
        (name.clone(), settings)
    };
    Value::Object(container.networks.iter().map(endpoint).collect())
}

/// A container in a list.
pub(super) fn listed(world: &World, container: &Container) -> Value {
    let status = state(container)["Status"].clone();
    let mode = container.request["HostConfig"]["NetworkMode"].as_str().unwrap_or("default");
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": container.request["Image"],
        "ImageID": container.image_id,
        "Command": "/bin/sh",
        "Created": seconds(container.created_at),
        "Ports": ports(container),
        "Labels": container.labels,
        "State": status,
        "Status": status,
        "HostConfig": { "NetworkMode": mode },
        "NetworkSettings": { "Networks": networks(world, container) },
        "Mounts": mounts(container),
    })
}

/// The ports that a running container publishes.
fn ports(container: &Container) -> Value {
    let bindings = container.request["HostConfig"]["PortBindings"].as_object().filter(|_| container.is_running());
    let of = |(port, bound): (&String, &Value)| -> Vec<Value> {
        let (private, kind) = port.split_once('/').unwrap_or((port, "tcp"));
        let number = |text: &str| text.parse::<u16>().unwrap_or_default();
        let public = |bound: &Value| {
            json!({
                "IP": bound["HostIp"].as_str().unwrap_or("0.0.0.0"), "PrivatePort": number(private),
                "PublicPort": number(bound["HostPort"].as_str().unwrap_or_default()), "Type": kind,
            })
        };
        bound.as_array().into_iter().flatten().map(public).collect()
    };
    bindings.into_iter().flatten().flat_map(of).collect()
}
