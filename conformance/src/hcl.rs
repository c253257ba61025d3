//! Options in the words of a job file or of an agent's configuration.

use nomad_jobspec::{Source, decode::decode, parse_config};
use nomad_plugin::{hclspec::Spec, msgpack::Value};

/// A `config` block's content as a host sends it: after the driver's schema.
pub fn decoded(config: &str, schema: &Spec) -> Value {
    let source = Source { name: "config".into(), text: config.to_owned() };
    let body = parse_config(&source).unwrap_or_else(|error| panic!("{error}"));
    decode(&body, schema, &|_| None).unwrap_or_else(|problems| panic!("{problems:?} in {config}"))
}
