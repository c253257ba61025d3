//! Functions on lists, sets and maps.

#![expect(clippy::needless_pass_by_value, reason = "the signature that the evaluator calls")]

use hcl::{
    Map,
    eval::{Context, FuncArgs, FuncDef, ParamType as P},
};

use super::{Answer, Named, int, list, object, text, tostring};
use crate::body::Value;

/// Makes the functions callable.
pub(super) fn declare(context: &mut Context<'_>) {
    declare_of_one(context);
    declare_of_two(context);
    declare_of_many(context);
}

fn declare_of_one(context: &mut Context<'_>) {
    let functions: &[Named] = &[
        ("length", length),
        ("keys", |args| Ok(in_order(&args)?.map(|(key, _)| Value::from(key.as_str())).collect())),
        ("values", |args| Ok(in_order(&args)?.map(|(_, value)| value.clone()).collect())),
        ("toset", |args| Ok(Value::Array(distinct(sorted(list(&args, 0)?))))),
        ("tolist", |args| Ok(Value::Array(list(&args, 0)?.clone()))),
        ("tomap", |args| Ok(Value::Object(object(&args, 0)?.clone()))),
        ("flatten", |args| Ok(Value::Array(flatten(list(&args, 0)?)))),
        ("distinct", |args| Ok(Value::Array(distinct(list(&args, 0)?.clone())))),
        ("sort", |args| Ok(Value::Array(sorted(list(&args, 0)?)))),
        ("reverse", |args| Ok(Value::Array(list(&args, 0)?.iter().rev().cloned().collect()))),
        ("compact", |args| {
            let items = list(&args, 0)?.iter().filter(|item| !item.is_null() && item.as_str() != Some(""));
            Ok(Value::Array(items.cloned().collect()))
        }),
        ("alltrue", |args| Ok(list(&args, 0)?.iter().all(|item| item.as_bool() == Some(true)).into())),
        ("anytrue", |args| Ok(list(&args, 0)?.iter().any(|item| item.as_bool() == Some(true)).into())),
    ];
    for (name, func) in functions {
        context.declare_func(*name, FuncDef::new(*func, [P::Any]));
    }
}

fn declare_of_two(context: &mut Context<'_>) {
    let functions: &[Named] = &[
        ("element", |args| {
            let items = list(&args, 0)?;
            let index = int(&args, 1)?.rem_euclid(i64::try_from(items.len().max(1)).unwrap_or(1));
            items.get(usize::try_from(index).unwrap_or_default()).cloned().ok_or_else(|| "the list is empty".to_owned())
        }),
        ("index", |args| {
            let position = list(&args, 0)?.iter().position(|item| *item == args[1]);
            position.map(Value::from).ok_or_else(|| format!("{} is not in the list", args[1]))
        }),
        ("contains", |args| Ok(list(&args, 0)?.contains(&args[1]).into())),
        ("zipmap", |args| {
            let keys = list(&args, 0)?.iter().map(tostring).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Object(keys.into_iter().zip(list(&args, 1)?.iter().cloned()).collect()))
        }),
        ("setsubtract", |args| {
            let without = list(&args, 1)?;
            let items = sorted(list(&args, 0)?).into_iter().filter(|item| !without.contains(item)).collect();
            Ok(Value::Array(distinct(items)))
        }),
    ];
    for (name, func) in functions {
        context.declare_func(*name, FuncDef::new(*func, [P::Any, P::Any]));
    }
}

fn declare_of_many(context: &mut Context<'_>) {
    let functions: &[Named] = &[
        ("lookup", lookup),
        ("concat", |args| {
            let lists = (0..args.len()).map(|index| list(&args, index).cloned()).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Array(lists.concat()))
        }),
        ("merge", |args| {
            let mut merged = Map::new();
            for index in (0..args.len()).filter(|index| !args[*index].is_null()) {
                merged.extend(object(&args, index)?.clone());
            }
            Ok(Value::Object(merged))
        }),
        ("coalesce", |args| {
            let first = args.iter().find(|value| !value.is_null() && value.as_str() != Some(""));
            first.cloned().ok_or_else(|| "every argument is null or empty".to_owned())
        }),
        ("setunion", |args| {
            let sets = (0..args.len()).map(|index| list(&args, index).cloned()).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Array(distinct(sorted(&sets.concat()))))
        }),
        ("setintersection", |args| {
            let mut items = sorted(list(&args, 0)?);
            for index in 1..args.len() {
                let other = list(&args, index)?;
                items.retain(|item| other.contains(item));
            }
            Ok(Value::Array(distinct(items)))
        }),
        ("slice", |args| {
            let (items, range) = (list(&args, 0)?, (usize::try_from(int(&args, 1)?), usize::try_from(int(&args, 2)?)));
            let (Ok(start), Ok(end)) = range else { return Err("the indexes must not be negative".to_owned()) };
            let slice = items.get(start..end).map(|slice| Value::Array(slice.to_vec()));
            slice.ok_or_else(|| format!("the list has only {} items", items.len()))
        }),
    ];
    for (name, func) in functions {
        context.declare_func(*name, FuncDef::builder().variadic_param(P::Any).build(*func));
    }
}

/// The first argument's fields by their keys' order.
fn in_order(args: &FuncArgs) -> Result<impl Iterator<Item = (&String, &Value)>, String> {
    let mut fields: Vec<_> = object(args, 0)?.iter().collect();
    fields.sort_by_key(|(key, _)| *key);
    Ok(fields.into_iter())
}

fn length(args: FuncArgs) -> Answer {
    let count = match &args[0] {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(items) => items.len(),
        other => return Err(format!("{other} has no length")),
    };
    Ok(count.into())
}

fn lookup(args: FuncArgs) -> Answer {
    match object(&args, 0)?.get(text(&args, 1)?) {
        Some(value) => Ok(value.clone()),
        None => args.get(2).cloned().ok_or_else(|| format!("there is no {}, and no default is given", args[1])),
    }
}

fn flatten(items: &[Value]) -> Vec<Value> {
    let flat = |item: &Value| match item {
        Value::Array(inner) => flatten(inner),
        other => vec![other.clone()],
    };
    items.iter().flat_map(flat).collect()
}

fn distinct(items: Vec<Value>) -> Vec<Value> {
    let mut first: Vec<Value> = Vec::new();
    for item in items {
        if !first.contains(&item) {
            first.push(item);
        }
    }
    first
}

fn sorted(items: &[Value]) -> Vec<Value> {
    let mut sorted = items.to_vec();
    sorted.sort_by_key(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
    sorted
}
