//! Any texts in each option of a task that takes text: a create request, or a refusal in words.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use nomad_driver_docker::config::task_schema;
use nomad_plugin::{
    hclspec::{Spec, Type},
    msgpack::{Value, encode},
};

fuzz_target!(|texts: Vec<(u8, String)>| {
    let Spec::Object(children) = task_schema() else { unreachable!("a configuration is an object") };
    let children: Vec<_> = children.into_iter().collect();
    let mut config = BTreeMap::from([("image".to_owned(), Value::String("busybox:1".to_owned()))]);
    for (which, text) in texts {
        let (name, spec) = &children[usize::from(which) % children.len()];
        let value = match spec {
            Spec::Attr { ty: Type::List(of), .. } => Value::List(vec![match &**of {
                Type::Map(of) => {
                    let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                    let value = match **of {
                        Type::Number => Value::Int(value.len() as i64 - 1),
                        _ => Value::String(value.to_owned()),
                    };
                    Value::Map([(name.to_owned(), value)].into())
                }
                _ => Value::String(text),
            }]),
            Spec::Block { .. } | Spec::BlockList { .. } => {
                let fields = ["type", "target", "source", "host_path", "cgroup_permissions", "driver"];
                Value::Map(fields.map(|field| (field.to_owned(), Value::String(text.clone()))).into())
            }
            _ => Value::String(text),
        };
        config.insert(name.clone(), value);
    }
    longshore_fuzz::request(&encode(&Value::Map(config)));
});
