//! Functions on numbers, and from texts to numbers and bools.

#![expect(clippy::needless_pass_by_value, reason = "the signature that the evaluator calls")]

use hcl::{
    Number,
    eval::{Context, FuncArgs, FuncDef, ParamType as P},
};

use super::{Answer, Named, float, int, list, tostring};
use crate::body::Value;

pub(super) fn declare(context: &mut Context<'_>) {
    let unary: &[Named] = &[
        ("tonumber", |args| tonumber(&args[0])),
        ("tobool", |args| match tostring(&args[0])?.as_str() {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            other => Err(format!("{other:?} is no bool")),
        }),
        ("abs", |args| from_float(float(&args, 0)?.abs())),
        ("signum", |args| Ok(int(&args, 0)?.signum().into())),
        ("sum", |args| {
            let numbers: Option<Vec<f64>> = list(&args, 0)?.iter().map(Value::as_f64).collect();
            from_float(numbers.ok_or("only numbers have a sum")?.into_iter().sum())
        }),
        ("ceil", |args| from_float(float(&args, 0)?.ceil())),
        ("floor", |args| from_float(float(&args, 0)?.floor())),
    ];
    for (name, func) in unary {
        context.declare_func(*name, FuncDef::new(*func, [P::Any]));
    }
    let binary: &[Named] = &[
        ("pow", |args| from_float(float(&args, 0)?.powf(float(&args, 1)?))),
        ("parseint", |args| {
            let (digits, base) = (tostring(&args[0])?, int(&args, 1)?);
            let base =
                u32::try_from(base).ok().filter(|base| (2..=36).contains(base)).ok_or("a base is from 2 to 36")?;
            i64::from_str_radix(&digits, base)
                .map(Value::from)
                .map_err(|_| format!("{digits:?} is no number of base {base}"))
        }),
    ];
    for (name, func) in binary {
        context.declare_func(*name, FuncDef::new(*func, [P::Any, P::Any]));
    }
    let variadic: &[Named] =
        &[("min", |args| extreme(&args, |a, b| a < b)), ("max", |args| extreme(&args, |a, b| a > b)), ("range", range)];
    for (name, func) in variadic {
        context.declare_func(*name, FuncDef::builder().variadic_param(P::Any).build(*func));
    }
}

fn from_float(float: f64) -> Answer {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if float.fract() == 0.0 && float.abs() < 9e15 {
        return Ok((float as i64).into());
    }
    Number::from_f64(float).map(Value::Number).ok_or_else(|| "not a finite number".to_owned())
}

fn tonumber(value: &Value) -> Answer {
    match value {
        Value::Number(_) => Ok(value.clone()),
        Value::String(text) => match text.parse::<i64>() {
            Ok(whole) => Ok(whole.into()),
            Err(_) => from_float(text.parse().map_err(|_| format!("{text:?} is no number"))?),
        },
        other => Err(format!("{other} is no number")),
    }
}

fn extreme(args: &FuncArgs, better: fn(f64, f64) -> bool) -> Answer {
    let mut best = float(args, 0)?;
    for index in 1..args.len() {
        let next = float(args, index)?;
        if better(next, best) {
            best = next;
        }
    }
    from_float(best)
}

/// `range(end)`, `range(start, end)`, `range(start, end, step)`; as in HCL at most 1024 numbers, and downwards where
/// the end is below the start.
fn range(args: FuncArgs) -> Answer {
    const MOST: usize = 1024;
    let (start, end) = if args.len() < 2 { (0, int(&args, 0)?) } else { (int(&args, 0)?, int(&args, 1)?) };
    let step = match args.len() {
        0..=2 if end < start => -1,
        0..=2 => 1,
        _ => int(&args, 2)?,
    };
    if step == 0 || (end != start && (step > 0) != (end > start)) {
        return Err("the step leads away from the end".to_owned());
    }
    let next = |number: &i64| number.checked_add(step);
    let before_end = |number: &i64| if step > 0 { *number < end } else { *number > end };
    let numbers: Vec<i64> = std::iter::successors(Some(start), next).take_while(before_end).take(MOST + 1).collect();
    if numbers.len() > MOST {
        Err(format!("more than {MOST} numbers"))
    } else {
        Ok(numbers.into_iter().map(Value::from).collect())
    }
}
