//! What a driver says of itself and of its node.

use go_plugin::text::short;

use super::{Mirror, few, mirror, mirror_enum};
use crate::{
    driver::{Attribute, Capabilities, Fingerprint, FsIsolation, Health, MountConfigs, PluginInfo},
    proto::{base, drivers, structs},
};

mirror_enum! {
    FsIsolation = drivers::driver_capabilities::FsIsolation {
        None = None, Chroot = Chroot, Image = Image, Unveil = Unveil,
    } else None
    MountConfigs = drivers::driver_capabilities::MountConfigs { Any = UnknownMounts, None = NoMounts } else Any
    Health = drivers::fingerprint_response::HealthState {
        Undetected = Undetected, Unhealthy = Unhealthy, Healthy = Healthy,
    } else Undetected
}

mirror! {
    Capabilities = drivers::DriverCapabilities {
        send_signals: send_signals, exec: exec, fs_isolation: fs_isolation,
        network_isolation_modes: network_isolation_modes, must_create_network: must_create_network,
        mount_configs: mount_configs, disable_log_collection: disable_log_collection,
        dynamic_workload_users: dynamic_workload_users,
    }
}

impl Mirror<base::PluginInfoResponse> for PluginInfo {
    fn into_wire(self) -> base::PluginInfoResponse {
        base::PluginInfoResponse {
            r#type: base::PluginType::Driver.into(),
            plugin_api_versions: self.api_versions,
            plugin_version: self.version,
            name: self.name,
        }
    }

    fn from_wire(message: base::PluginInfoResponse) -> Self {
        Self { name: message.name, version: message.plugin_version, api_versions: message.plugin_api_versions }
    }
}

impl Mirror<drivers::FingerprintResponse> for Fingerprint {
    fn into_wire(self) -> drivers::FingerprintResponse {
        drivers::FingerprintResponse {
            attributes: few(self.attributes.into_iter().map(|(name, value)| (short(&name), value.into_wire()))),
            health: self.health.into_wire(),
            health_description: short(&self.description),
            err: String::new(),
        }
    }

    fn from_wire(message: drivers::FingerprintResponse) -> Self {
        let description = if message.err.is_empty() { message.health_description } else { message.err };
        let attributes = message.attributes.into_iter();
        Self {
            attributes: attributes.map(|(name, value)| (name, Attribute::from_wire(value))).collect(),
            health: Health::from_wire(message.health),
            description,
        }
    }
}

impl Mirror<structs::Attribute> for Attribute {
    fn into_wire(self) -> structs::Attribute {
        use structs::attribute::Value;
        let (value, unit) = match self {
            Self::Float(value, unit) => (Value::FloatVal(value), unit),
            Self::Int(value, unit) => (Value::IntVal(value), unit),
            Self::String(value) => (Value::StringVal(short(&value)), String::new()),
            Self::Bool(value) => (Value::BoolVal(value), String::new()),
        };
        structs::Attribute { value: Some(value), unit }
    }

    fn from_wire(message: structs::Attribute) -> Self {
        use structs::attribute::Value;
        match message.value {
            Some(Value::FloatVal(value)) => Self::Float(value, message.unit),
            Some(Value::IntVal(value)) => Self::Int(value, message.unit),
            Some(Value::BoolVal(value)) => Self::Bool(value),
            Some(Value::StringVal(value)) => Self::String(value),
            None => Self::String(String::new()),
        }
    }
}
