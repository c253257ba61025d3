//! What Nomad stores of a running task for the driver, in the form of the driver built into Nomad. So running tasks survive an
//! upgrade to this driver, and a downgrade.

use std::collections::BTreeMap;

use nomad_plugin::{
    driver::NetworkOverride,
    msgpack::{DecodeError, Value, decode, encode_go},
};

/// The stored state of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TaskState {
    /// The container's full id.
    pub container_id: String,
    /// The task's address, if it has one.
    pub network: NetworkOverride,
    /// The process that forwarded logs for the built-in driver, if there is one.
    pub logger: Option<Logger>,
}

/// The built-in driver's log forwarder, a plugin process of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logger {
    /// `unix`
    pub network: String,
    /// Its socket.
    pub address: String,
    /// Its process.
    pub pid: i64,
}

/// Why a state cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// Invalid msgpack.
    #[error("failed to decode driver task state: {0}")]
    Decode(#[from] DecodeError),
    /// It names no container.
    #[error("failed to decode driver task state: it names no container")]
    NoContainer,
}

impl TaskState {
    /// Encodes the state for the handle.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let text = |text: &str| Value::String(text.to_owned());
        let NetworkOverride { port_map, addr, auto_advertise } = &self.network;
        let ports = port_map.iter().map(|(label, port)| (label.clone(), Value::Int((*port).into())));
        let ports = if port_map.is_empty() { Value::Null } else { Value::Map(ports.collect()) };
        let network = object([("PortMap", ports), ("IP", text(addr)), ("AutoAdvertise", Value::Bool(*auto_advertise))]);
        let logger = self.logger.as_ref().map_or(Value::Null, |logger| {
            object([
                ("Protocol", text("grpc")),
                ("Network", text(&logger.network)),
                ("Addr", text(&logger.address)),
                ("Pid", Value::Int(logger.pid)),
            ])
        });
        encode_go(&object([
            ("ReattachConfig", logger),
            ("ContainerID", text(&self.container_id)),
            ("DriverNetwork", network),
        ]))
    }

    /// Decodes the state of a handle.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut state = fields(decode(bytes)?);
        let container_id = text(&mut state, "ContainerID");
        if container_id.is_empty() {
            return Err(StateError::NoContainer);
        }
        let mut network = fields(state.remove("DriverNetwork").unwrap_or(Value::Null));
        let ports = fields(network.remove("PortMap").unwrap_or(Value::Null)).into_iter();
        let mut logger = fields(state.remove("ReattachConfig").unwrap_or(Value::Null));
        Ok(Self {
            container_id,
            network: NetworkOverride {
                port_map: ports.map(|(label, port)| (label, i32::try_from(int(&port)).unwrap_or_default())).collect(),
                addr: text(&mut network, "IP"),
                auto_advertise: network.remove("AutoAdvertise") == Some(Value::Bool(true)),
            },
            logger: (!logger.is_empty()).then(|| Logger {
                network: text(&mut logger, "Network"),
                address: text(&mut logger, "Addr"),
                pid: int(&logger.remove("Pid").unwrap_or(Value::Null)),
            }),
        })
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn fields(value: Value) -> BTreeMap<String, Value> {
    if let Value::Map(fields) = value { fields } else { BTreeMap::new() }
}

fn text(fields: &mut BTreeMap<String, Value>, name: &str) -> String {
    if let Some(Value::String(text)) = fields.remove(name) { text } else { String::new() }
}

fn int(value: &Value) -> i64 {
    if let Value::Int(int) = value { *int } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let network = NetworkOverride {
            port_map: [("http".to_owned(), 80)].into(),
            addr: "172.17.0.2".into(),
            auto_advertise: true,
        };
        let logger = Logger { network: "unix".into(), address: "/tmp/plugin1".into(), pid: 77 };
        for state in [
            TaskState { container_id: "abc".into(), network, logger: Some(logger) },
            TaskState { container_id: "abc".into(), ..TaskState::default() },
        ] {
            assert_eq!(TaskState::decode(&state.encode()).unwrap(), state);
        }
    }

    #[test]
    fn the_built_in_drivers_form_is_read() {
        // In declaration order, and in name order, as its encoder writes them.
        let declared = b"\x83\xaeReattachConfig\xc0\xabContainerID\xa2ab\xadDriverNetwork\x83\xa7PortMap\xc0\xa2IP\xa0\xadAutoAdvertise\xc2";
        let sorted = b"\x83\xabContainerID\xa2ab\xadDriverNetwork\x83\xadAutoAdvertise\xc2\xa2IP\xa0\xa7PortMap\xc0\xaeReattachConfig\xc0";

        let expected = TaskState { container_id: "ab".into(), ..TaskState::default() };
        assert_eq!(TaskState::decode(declared).unwrap(), expected);
        assert_eq!(TaskState::decode(sorted).unwrap(), expected);
    }

    #[test]
    fn what_names_no_container_is_refused() {
        assert_eq!(
            TaskState::decode(&[0x80]).unwrap_err().to_string(),
            "failed to decode driver task state: it names no container"
        );
        let garbage = TaskState::decode(&[0xc1]).unwrap_err().to_string();
        assert!(garbage.starts_with("failed to decode driver task state: "), "{garbage}");
    }
}
