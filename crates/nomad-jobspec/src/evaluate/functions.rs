//! The functions that job files call, after HCL2's and Terraform's of the same names.

#![expect(clippy::needless_pass_by_value, reason = "the signature that the evaluator calls")]

mod collection;
mod format;
mod number;

use base64::{Engine, engine::general_purpose::STANDARD};
use hcl::{
    Map,
    eval::{Context, FuncArgs, FuncDef, ParamType as P},
};

use crate::body::Value;

/// The greatest width of a format and of an indent.
const WIDEST: usize = 1024;

/// What a function answers.
pub(super) type Answer = Result<Value, String>;

/// A function's name, and the function as the evaluator calls it.
pub(super) type Named = (&'static str, fn(FuncArgs) -> Answer);

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
            Ok(match separator {
                "" => text.chars().map(String::from).collect(),
                separator => text.split(separator).map(Value::from).collect(),
            })
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
    context.declare_func("format", FuncDef::builder().param(P::String).variadic_param(P::Any).build(format::format));
    context.declare_func("join", FuncDef::builder().param(P::String).variadic_param(P::array_of(P::Any)).build(join));
    context.declare_func("formatlist", FuncDef::new(format::formatlist, [P::String, P::array_of(P::Any)]));

    let any: &[Named] = &[
        ("jsonencode", |args| {
            // By way of JSON's own value, whose keys are sorted.
            serde_json::to_value(&args[0]).map(|value| value.to_string().into()).map_err(|error| error.to_string())
        }),
        ("tostring", |args| Ok(tostring(&args[0])?.into())),
    ];
    for (name, func) in any {
        context.declare_func(*name, FuncDef::new(*func, [P::Any]));
    }
    collection::declare(context);
    number::declare(context);
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

fn float(args: &FuncArgs, index: usize) -> Result<f64, String> {
    args.get(index).and_then(Value::as_f64).ok_or_else(|| format!("argument {} must be a number", index + 1))
}

fn int(args: &FuncArgs, index: usize) -> Result<i64, String> {
    args.get(index).and_then(Value::as_i64).ok_or_else(|| format!("argument {} must be a whole number", index + 1))
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
    let spaces = usize::try_from(int(&args, 0)?).ok().filter(|spaces| *spaces <= WIDEST);
    let spaces = " ".repeat(spaces.ok_or_else(|| format!("the indent must be from 0 to {WIDEST}"))?);
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

fn join(args: FuncArgs) -> Answer {
    let mut items = Vec::new();
    for index in 1..args.len() {
        items.extend(list(&args, index)?.iter().map(tostring).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(items.join(text(&args, 0)?).into())
}
