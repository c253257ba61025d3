//! The messages of the protocol as they are on the wire: decoded by their descriptors, so that unknown fields are kept,
//! and shown as the recordings show them.

use std::{path::Path, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use nomad_plugin::msgpack;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use serde_json::{Map, Value};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crates");
    let directories = [root.join("nomad-plugin/proto"), root.join("go-plugin/proto")];
    let files = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    DescriptorPool::from_file_descriptor_set(protox::compile(files, &directories).unwrap()).unwrap()
});

/// A call by its short name, such as `Driver.StartTask`.
pub fn method(call: &str) -> MethodDescriptor {
    let (service, method) = call.split_once('.').unwrap();
    let service =
        POOL.services().find(|known| known.name() == service).unwrap_or_else(|| panic!("no service of {call}"));
    let found = service.methods().find(|known| known.name() == method);
    found.unwrap_or_else(|| panic!("no call {call}"))
}

/// The path of a call in HTTP.
pub fn path(call: &str) -> String {
    let method = method(call);
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// A message from its bytes, which must be one.
pub fn decode(descriptor: MessageDescriptor, bytes: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(descriptor, bytes).unwrap()
}

/// A message as a recording shows it: names as in the `.proto` files, what is msgpack opened, without what is null in it.
pub fn view(message: &DynamicMessage) -> Value {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut view = message.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
    open_msgpack(&mut view);
    without_nulls(&mut view);
    view
}

/// Bytes of a call's answer as a recording shows them.
pub fn answer(call: &str, bytes: &[u8]) -> Value {
    view(&decode(method(call).output(), bytes))
}

fn open_msgpack(view: &mut Value) {
    match view {
        Value::Object(fields) => {
            for (name, field) in fields {
                let is_msgpack = ["msgpack_config", "msgpack_driver_config", "driver_state"].contains(&name.as_str());
                if let (true, Some(text)) = (is_msgpack, field.as_str()) {
                    *field = json(msgpack::decode(&STANDARD.decode(text).unwrap()).unwrap());
                } else {
                    open_msgpack(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(open_msgpack),
        _ => {}
    }
}

fn json(value: msgpack::Value) -> Value {
    match value {
        msgpack::Value::Null => Value::Null,
        msgpack::Value::Bool(value) => value.into(),
        msgpack::Value::Int(value) => value.into(),
        msgpack::Value::Float(value) => value.into(),
        msgpack::Value::String(value) => value.into(),
        msgpack::Value::List(items) => items.into_iter().map(json).collect(),
        msgpack::Value::Map(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| (key, json(value))).collect())
        }
    }
}

/// Takes out what is null, in objects.
pub fn without_nulls(view: &mut Value) {
    match view {
        Value::Object(fields) => {
            let all = std::mem::take(fields);
            *fields = all.into_iter().filter(|(_, field)| !field.is_null()).collect::<Map<_, _>>();
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
