//! A `config` block against a schema.

use nomad_jobspec::decode::decode;
use nomad_values::{
    hclspec::{Spec, Type},
    msgpack::Value,
};

use crate::{read, task};

pub(crate) fn schema() -> Spec {
    let maps = Type::List(Box::new(Type::Map(Box::new(Type::String))));
    let nested = Spec::object([("type", Spec::attr("type", Type::String).or("\"volume\""))]);
    Spec::object([
        ("image", Spec::required_attr("image", Type::String)),
        ("args", Spec::attr("args", Type::List(Box::new(Type::String)))),
        ("tty", Spec::attr("tty", Type::Bool)),
        ("size", Spec::attr("size", Type::Number)),
        ("labels", Spec::attr("labels", maps)),
        ("mount", Spec::block_list("mount", nested)),
        ("auth", Spec::block("auth", Spec::object([("user", Spec::attr("user", Type::String))]))),
    ])
}

fn decoded(config: &str) -> Result<Value, String> {
    let parsed = read(&task(&format!("config {{\n{config}\n}}")), &[], None).unwrap_or_else(|error| panic!("{error}"));
    let resolve = |name: &str| (name == "NOMAD_PORT_http").then(|| "8080".to_owned());
    decode(&parsed.job.groups[0].tasks[0].config, &schema(), &resolve)
        .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn object(fields: &[(&str, Value)]) -> Value {
    Value::Map(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

#[test]
fn a_config_is_decoded_as_an_agent_does() {
    let value = decoded(
        "image = \"busybox\"\nargs = [\"-p\", \"${NOMAD_PORT_http}\", 3]\ntty = \"true\"\nsize = \"12\"\nlabels { a = 1 }\nmount { }\n",
    );

    let expected = object(&[
        ("args", Value::List(vec![text("-p"), text("8080"), text("3")])),
        ("auth", Value::Null),
        ("image", text("busybox")),
        ("labels", Value::List(vec![object(&[("a", text("1"))])])),
        ("mount", Value::List(vec![object(&[("type", text("volume"))])])),
        ("size", Value::Int(12)),
        ("tty", Value::Bool(true)),
    ]);
    assert_eq!(value, Ok(expected));
}

#[test]
fn maps_and_blocks_may_be_written_in_each_of_their_forms() {
    let expected = Value::List(vec![object(&[("a", text("1"))])]);
    for labels in ["labels { a = 1 }", "labels = { a = 1 }", "labels = [{ a = 1 }]"] {
        let Value::Map(value) = decoded(&format!("image = \"x\"\n{labels}")).unwrap() else { panic!("no map") };
        assert_eq!(value["labels"], expected, "{labels}");
    }
    let Value::Map(value) = decoded("image = \"x\"\nmount = [{ type = \"bind\" }]").unwrap() else { panic!("no map") };
    assert_eq!(value["mount"], Value::List(vec![object(&[("type", text("bind"))])]));
}

#[test]
fn numbers_sets_and_keys_are_converted_as_cty_does() {
    let spec = Spec::object([
        ("whole", Spec::attr("whole", Type::Number)),
        ("half", Spec::attr("half", Type::Number)),
        ("huge", Spec::attr("huge", Type::Number)),
        ("text", Spec::attr("text", Type::String)),
        ("set", Spec::attr("set", Type::Set(Box::new(Type::String)))),
        ("map", Spec::attr("map", Type::Map(Box::new(Type::String)))),
    ]);
    let config = "whole = \"12.0\"\nhalf = 0.5\nhuge = 18446744073709551615\ntext = 2.0\nset = [\"a\", \"a\", 1]\nmap = { \"p${NOMAD_PORT_http}\" = 1 }";
    let parsed = read(&task(&format!("config {{\n{config}\n}}")), &[], None).unwrap_or_else(|error| panic!("{error}"));
    let resolve = |name: &str| (name == "NOMAD_PORT_http").then(|| "8080".to_owned());

    let value = decode(&parsed.job.groups[0].tasks[0].config, &spec, &resolve);

    let expected = object(&[
        ("whole", Value::Int(12)),
        ("half", Value::Float(0.5)),
        ("huge", text("18446744073709551615")),
        ("text", text("2")),
        ("set", Value::List(vec![text("a"), text("1")])),
        ("map", object(&[("p8080", text("1"))])),
    ]);
    assert_eq!(value, Ok(expected));
}

#[test]
fn blocks_that_are_too_many_or_labelled_are_refused() {
    for (config, expected) in [
        ("auth {}\nauth {}", "only one auth block is allowed"),
        ("mount \"a\" {}", "Extraneous label for mount; No labels are expected for mount blocks."),
        ("labels = {}\nlabels {}", "labels is written as an argument as well"),
        ("size = \"nan\"", "a number is needed, this is \"nan\""),
        ("args { a = 1 }", "args is an argument, not a block: write `args = ...`"),
    ] {
        let message = decoded(&format!("image = \"x\"\n{config}")).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    let problems = decoded("imag = \"x\"\nauth { usr = 1 }\ntty = 3\n").unwrap_err();
    for expected in [
        "Unsupported argument; An argument named \"imag\" is not expected here.",
        "Unsupported argument; An argument named \"usr\" is not expected here.",
        "Missing required argument; The argument \"image\" is required, but no definition was found.",
        "Incorrect attribute value type; a bool is needed, this is 3",
    ] {
        assert!(problems.contains(expected), "{expected} is not in {problems}");
    }
}
