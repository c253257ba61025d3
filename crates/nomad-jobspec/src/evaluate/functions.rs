//! The functions that job files call, after HCL2's and Terraform's of the same names.

#![expect(clippy::needless_pass_by_value, reason = "the signature that the evaluator calls")]

use base64::{Engine, engine::general_purpose::STANDARD};
use hcl::{
    Map, Number,
    eval::{Context, FuncArgs, FuncDef, ParamType as P},
};

use crate::body::Value;

type Answer = Result<Value, String>;

/// A function's name, and the function as the evaluator calls it.
type Named = (&'static str, fn(FuncArgs) -> Answer);

/// Makes the functions callable.
pub(super) fn declare(context: &mut Context<'_>) {
    let texts: &[Named] = &[
        ("trimspace", |args| text1(&args, |text| text.trim().to_owned())),
        ("chomp", |args| text1(&args, |text| text.trim_end_matches(['\r', '\n']).to_owned())),
        ("lower", |args| text1(&args, str::to_lowercase)),
        ("upper", |args| text1(&args, str::to_uppercase)),
        ("title", |args| text1(&args, title)),
        ("strrev", |args| text1(&args, |text| text.chars().rev().collect())),
        ("base64encode", |args| text1(&args, |text| base64(text.as_bytes()))),
        ("base64decode", base64decode),
        ("jsondecode", jsondecode),
        ("urlencode", |args| text1(&args, urlencode)),
        ("basename", |args| text1(&args, |path| path.rsplit('/').next().unwrap_or_default().to_owned())),
        ("dirname", |args| {
            text1(&args, |path| path.rsplit_once('/').map_or(".", |(directory, _)| directory).to_owned())
        }),
    ];
    for (name, func) in texts {
        context.declare_func(*name, FuncDef::new(*func, [P::String]));
    }
    let two_texts: &[Named] = &[
        ("trim", |args| text2(&args, |text, cut| text.trim_matches(|c| cut.contains(c)).to_owned())),
        ("trimprefix", |args| text2(&args, |text, prefix| text.strip_prefix(prefix).unwrap_or(text).to_owned())),
        ("trimsuffix", |args| text2(&args, |text, suffix| text.strip_suffix(suffix).unwrap_or(text).to_owned())),
        ("split", |args| {
            let (separator, text) = (text(&args, 0)?, text(&args, 1)?);
            Ok(Value::Array(text.split(separator).map(Value::from).collect()))
        }),
        ("startswith", |args| Ok(text(&args, 0)?.starts_with(text(&args, 1)?).into())),
        ("endswith", |args| Ok(text(&args, 0)?.ends_with(text(&args, 1)?).into())),
        ("strcontains", |args| Ok(text(&args, 0)?.contains(text(&args, 1)?).into())),
    ];
    for (name, func) in two_texts {
        context.declare_func(*name, FuncDef::new(*func, [P::String, P::String]));
    }
    context.declare_func("replace", FuncDef::new(replace, [P::String, P::String, P::String]));
    context.declare_func("substr", FuncDef::new(substr, [P::String, P::Number, P::Number]));
    context.declare_func("indent", FuncDef::new(indent, [P::Number, P::String]));
    context.declare_func("format", FuncDef::builder().param(P::String).variadic_param(P::Any).build(format));
    context.declare_func("join", FuncDef::builder().param(P::String).variadic_param(P::array_of(P::Any)).build(join));
    context.declare_func("formatlist", FuncDef::new(formatlist, [P::String, P::array_of(P::Any)]));

    declare_conversions(context);
}

fn declare_conversions(context: &mut Context<'_>) {
    let any_one: &[Named] = &[
        ("length", length),
        ("keys", |args| Ok(in_order(&args)?.map(|(key, _)| Value::from(key.as_str())).collect())),
        ("values", |args| Ok(in_order(&args)?.map(|(_, value)| value.clone()).collect())),
        ("jsonencode", |args| {
            // By way of JSON's own value, whose keys are sorted.
            serde_json::to_value(&args[0]).map(|value| value.to_string().into()).map_err(|error| error.to_string())
        }),
        ("tostring", |args| Ok(tostring(&args[0])?.into())),
        ("tonumber", |args| tonumber(&args[0])),
        ("tobool", |args| match tostring(&args[0])?.as_str() {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            other => Err(format!("{other:?} is no bool")),
        }),
        ("toset", |args| Ok(Value::Array(distinct(sorted(list(&args, 0)?))))),
        ("tolist", |args| Ok(Value::Array(list(&args, 0)?.clone()))),
        ("tomap", |args| Ok(Value::Object(object(&args, 0)?.clone()))),
        ("flatten", |args| Ok(Value::Array(flatten(list(&args, 0)?)))),
        ("distinct", |args| Ok(Value::Array(distinct(list(&args, 0)?.clone())))),
        ("sort", |args| Ok(Value::Array(sorted(list(&args, 0)?)))),
        ("reverse", |args| Ok(Value::Array(list(&args, 0)?.iter().rev().cloned().collect()))),
        ("compact", |args| {
            let kept = list(&args, 0)?.iter().filter(|item| !item.is_null() && item.as_str() != Some(""));
            Ok(Value::Array(kept.cloned().collect()))
        }),
        ("abs", |args| from_float(float(&args, 0)?.abs())),
        ("ceil", |args| from_float(float(&args, 0)?.ceil())),
    ];
    for (name, func) in any_one {
        context.declare_func(*name, FuncDef::new(*func, [P::Any]));
    }
    context.declare_func("floor", FuncDef::new(|args| from_float(float(&args, 0)?.floor()), [P::Number]));
    let any_two: &[Named] = &[
        ("element", |args| {
            let items = list(&args, 0)?;
            let index = int(&args, 1)?.rem_euclid(i64::try_from(items.len().max(1)).unwrap_or(1));
            items.get(usize::try_from(index).unwrap_or_default()).cloned().ok_or_else(|| "the list is empty".to_owned())
        }),
        ("contains", |args| Ok(list(&args, 0)?.contains(&args[1]).into())),
        ("zipmap", |args| {
            let keys = list(&args, 0)?.iter().map(tostring).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Object(keys.into_iter().zip(list(&args, 1)?.iter().cloned()).collect()))
        }),
    ];
    for (name, func) in any_two {
        context.declare_func(*name, FuncDef::new(*func, [P::Any, P::Any]));
    }
    let variadic: &[Named] = &[
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
        ("min", |args| extreme(&args, |a, b| a < b)),
        ("max", |args| extreme(&args, |a, b| a > b)),
        ("range", range),
    ];
    for (name, func) in variadic {
        context.declare_func(*name, FuncDef::builder().variadic_param(P::Any).build(*func));
    }
}

fn text(args: &FuncArgs, index: usize) -> Result<&str, String> {
    args.get(index).and_then(Value::as_str).ok_or_else(|| format!("argument {} must be a string", index + 1))
}

fn list(args: &FuncArgs, index: usize) -> Result<&Vec<Value>, String> {
    args.get(index).and_then(Value::as_array).ok_or_else(|| format!("argument {} must be a list", index + 1))
}

fn object(args: &FuncArgs, index: usize) -> Result<&Map<String, Value>, String> {
    args.get(index).and_then(Value::as_object).ok_or_else(|| format!("argument {} must be a map", index + 1))
}

/// The first argument's fields by their keys' order.
fn in_order(args: &FuncArgs) -> Result<impl Iterator<Item = (&String, &Value)>, String> {
    let mut fields: Vec<_> = object(args, 0)?.iter().collect();
    fields.sort_by_key(|(key, _)| *key);
    Ok(fields.into_iter())
}

fn float(args: &FuncArgs, index: usize) -> Result<f64, String> {
    args.get(index).and_then(Value::as_f64).ok_or_else(|| format!("argument {} must be a number", index + 1))
}

fn int(args: &FuncArgs, index: usize) -> Result<i64, String> {
    args.get(index).and_then(Value::as_i64).ok_or_else(|| format!("argument {} must be a whole number", index + 1))
}

fn from_float(float: f64) -> Answer {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if float.fract() == 0.0 && float.abs() < 9e15 {
        return Ok((float as i64).into());
    }
    Number::from_f64(float).map(Value::Number).ok_or_else(|| "not a finite number".to_owned())
}

fn text1(args: &FuncArgs, func: impl Fn(&str) -> String) -> Answer {
    Ok(func(text(args, 0)?).into())
}

fn text2(args: &FuncArgs, func: impl Fn(&str, &str) -> String) -> Answer {
    Ok(func(text(args, 0)?, text(args, 1)?).into())
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn base64decode(args: FuncArgs) -> Answer {
    let bytes = STANDARD.decode(text(&args, 0)?).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map(Value::from).map_err(|_| "the decoded bytes are no text".to_owned())
}

fn jsondecode(args: FuncArgs) -> Answer {
    serde_json::from_str(text(&args, 0)?).map_err(|error| error.to_string())
}

fn urlencode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn title(text: &str) -> String {
    let mut at_start = true;
    let letter = |letter: char| {
        let raised = if at_start { letter.to_uppercase().collect() } else { letter.to_string() };
        at_start = letter.is_whitespace();
        raised
    };
    text.chars().map(letter).collect()
}

fn replace(args: FuncArgs) -> Answer {
    Ok(text(&args, 0)?.replace(text(&args, 1)?, text(&args, 2)?).into())
}

fn substr(args: FuncArgs) -> Answer {
    let letters: Vec<char> = text(&args, 0)?.chars().collect();
    let (offset, length) = (int(&args, 1)?, int(&args, 2)?);
    let count = i64::try_from(letters.len()).unwrap_or(i64::MAX);
    let start = if offset < 0 { count + offset } else { offset }.clamp(0, count);
    let end = if length < 0 { count } else { start.saturating_add(length).min(count) };
    let index = |position: i64| usize::try_from(position).unwrap_or_default();
    Ok(letters[index(start)..index(end)].iter().collect::<String>().into())
}

fn indent(args: FuncArgs) -> Answer {
    let spaces = " ".repeat(usize::try_from(int(&args, 0)?).map_err(|_| "the indent must not be negative")?);
    Ok(text(&args, 1)?.replace('\n', &format!("\n{spaces}")).into())
}

fn tostring(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("{other} is neither text, number nor bool")),
    }
}

fn tonumber(value: &Value) -> Answer {
    match value {
        Value::Number(_) => Ok(value.clone()),
        Value::String(text) => from_float(text.parse().map_err(|_| format!("{text:?} is no number"))?),
        other => Err(format!("{other} is no number")),
    }
}

fn join(args: FuncArgs) -> Answer {
    let mut items = Vec::new();
    for index in 1..args.len() {
        items.extend(list(&args, index)?.iter().map(tostring).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(items.join(text(&args, 0)?).into())
}

fn format(args: FuncArgs) -> Answer {
    let values: Vec<Value> = args.iter().skip(1).cloned().collect();
    Ok(formatted(text(&args, 0)?, &values)?.into())
}

fn formatlist(args: FuncArgs) -> Answer {
    let each = |item: &Value| formatted(text(&args, 0)?, std::slice::from_ref(item)).map(Value::from);
    Ok(Value::Array(list(&args, 1)?.iter().map(each).collect::<Result<_, _>>()?))
}

/// `%s`, `%v`, `%d`, `%q`, `%t`, `%f`, with width, zeros and precision.
fn formatted(pattern: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut spec = String::new();
        while let Some(flag) = letters.next_if(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+')) {
            spec.push(flag);
        }
        let verb = letters.next().ok_or("the format ends with %")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or("the format has more verbs than arguments")?;
        let (width, precision) = spec.split_once('.').unwrap_or((&spec, ""));
        let number = || value.as_f64().ok_or_else(|| format!("%{verb} needs a number, this is {value}"));
        let text = match verb {
            's' | 'v' | 't' if value.is_array() || value.is_object() || value.is_null() => {
                serde_json::to_string(value).map_err(|error| error.to_string())?
            }
            's' | 'v' | 't' => tostring(value)?,
            'q' => format!("{:?}", tostring(value)?),
            'd' => format!("{:.0}", number()?.trunc()),
            'f' => format!("{:.*}", precision.parse().unwrap_or(6), number()?),
            'x' => format!("{:x}", value.as_i64().ok_or("%x needs a whole number")?),
            other => return Err(format!("%{other} is not supported")),
        };
        let wide = width.trim_start_matches(['-', '+']).trim_start_matches('0').parse().unwrap_or(0);
        if width.starts_with('-') {
            out.extend([format!("{text:<wide$}")]);
        } else if width.starts_with('0') && !matches!(verb, 's' | 'v' | 'q') {
            out.extend([format!("{text:0>wide$}")]);
        } else {
            out.extend([format!("{text:>wide$}")]);
        }
    }
    Ok(out)
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
        None => {
            args.get(2).cloned().ok_or_else(|| format!("there is no {:?}, and no default is given", text(&args, 1)))
        }
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
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn sorted(items: &[Value]) -> Vec<Value> {
    let mut sorted = items.to_vec();
    sorted.sort_by_key(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
    sorted
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

/// `range(end)`, `range(start, end)`, `range(start, end, step)`.
fn range(args: FuncArgs) -> Answer {
    const MOST: i64 = 10_000;
    let (start, end, step) = match args.len() {
        1 => (0, int(&args, 0)?, 1),
        2 => (int(&args, 0)?, int(&args, 1)?, 1),
        _ => (int(&args, 0)?, int(&args, 1)?, int(&args, 2)?),
    };
    if step == 0 || end.saturating_sub(start) / step > MOST {
        return Err("the range has no end, or more than 10000 numbers".to_owned());
    }
    let mut numbers = Vec::new();
    let mut next = start;
    while (step > 0 && next < end) || (step < 0 && next > end) {
        numbers.push(next.into());
        next += step;
    }
    Ok(Value::Array(numbers))
}
