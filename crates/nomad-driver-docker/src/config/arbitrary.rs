//! Configurations for property tests: whatever a schema allows, and some values that it does not.

use nomad_plugin::{
    hclspec::{Spec, Type},
    msgpack::Value,
};
use proptest::prelude::*;

/// Texts that look like option values, and texts that do not.
pub(crate) fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9:/._=,*@ -]{0,20}",
        "\\PC{0,12}",
        "(/[a-z.]{0,4}){0,3}(:/?[a-z.]{0,4}){0,3}",
        "-?[0-9]{1,20}(:-?[0-9]{1,20})?(ns|ms|s|m|h|d)?",
        "(host|private|container:|bind|tmpfs|volume|seccomp=|no-new-privileges|all|CAP_|unconfined)[a-z/]{0,3}",
        "([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}",
    ]
}

fn numbers() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -2i64..=70_000]
}

/// A value of any kind.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        numbers().prop_map(Value::Int),
        prop::num::f64::NORMAL.prop_map(Value::Float),
        texts().prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

fn of_type(ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::String => texts().prop_map(Value::String).boxed(),
        Type::Number => numbers().prop_map(Value::Int).boxed(),
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::List(item) => prop::collection::vec(of_type(item), 0..4).prop_map(Value::List).boxed(),
        Type::Map(item) => prop::collection::btree_map("[a-z_]{1,8}", of_type(item), 0..4).prop_map(Value::Map).boxed(),
        _ => values().boxed(),
    }
}

/// Mostly values of the schema's type; one in ten is of any type.
fn of_schema(spec: &Spec) -> BoxedStrategy<Value> {
    let right = match spec {
        Spec::Object(children) => {
            let children: Vec<_> = children
                .iter()
                .map(|(name, child)| (Just(name.clone()), prop::option::weighted(0.2, of_schema(child))))
                .collect();
            children
                .prop_map(|fields| {
                    let set = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
                    Value::Map(set.collect())
                })
                .boxed()
        }
        Spec::Default { primary, .. } => of_schema(primary),
        Spec::Attr { ty, .. } => of_type(ty),
        Spec::BlockAttrs { ty, .. } => of_type(&Type::Map(Box::new(ty.clone()))),
        Spec::Block { nested, .. } => of_schema(nested),
        Spec::BlockList { nested, .. } => prop::collection::vec(of_schema(nested), 0..3).prop_map(Value::List).boxed(),
        other => panic!("no schema of ours has {other:?}"),
    };
    prop_oneof![9 => right, 1 => values()].boxed()
}

/// A configuration.
pub(crate) fn configs(schema: &Spec) -> impl Strategy<Value = Value> + use<> {
    of_schema(schema)
}

/// One option of a schema with a value.
pub(crate) fn options(schema: Spec) -> impl Strategy<Value = (String, Value)> {
    let Spec::Object(children) = schema else { panic!("a configuration is an object") };
    let children: Vec<_> = children.into_iter().collect();
    prop::sample::select(children).prop_flat_map(|(name, spec)| (Just(name), of_schema(&spec)))
}
