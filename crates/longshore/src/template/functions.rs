//! The functions of Nomad's templates that ask nothing but the environment.

use std::{cell::RefCell, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gtmpl::{FuncError, Template, Value};

thread_local! {
    /// What `env` looks into: the library calls plain functions only.
    static ENVIRONMENT: RefCell<BTreeMap<String, String>> = RefCell::default();
}

/// How far `loop` counts at most.
const LONGEST: i64 = 100_000;

type FuncResult = Result<Value, FuncError>;

/// Makes the functions callable, with this environment.
pub(super) fn declare(template: &mut Template, env: &BTreeMap<String, String>) {
    ENVIRONMENT.with_borrow_mut(|known| known.clone_from(env));
    let functions: [(&str, gtmpl::Func); 22] = [
        // An unset variable is empty.
        ("env", |args| Ok(variable(&text(args, 0)?).unwrap_or_default().into())),
        ("envOrDefault", |args| Ok(variable(&text(args, 0)?).map_or_else(|| text(args, 1), Ok)?.into())),
        ("mustEnv", |args| {
            let name = text(args, 0)?;
            variable(&name).map(Value::from).ok_or_else(|| wrong(format!("{name} is not set")))
        }),
        ("toLower", |args| Ok(text(args, 0)?.to_lowercase().into())),
        ("toUpper", |args| Ok(text(args, 0)?.to_uppercase().into())),
        ("trimSpace", |args| Ok(text(args, 0)?.trim().into())),
        // The text comes last, so that it may come through a pipe.
        ("trim", |args| Ok(text(args, 1)?.trim_matches(|c| args[0].to_string().contains(c)).into())),
        ("trimPrefix", |args| stripped(args, |text, cut| text.strip_prefix(cut).map(str::to_owned))),
        ("trimSuffix", |args| stripped(args, |text, cut| text.strip_suffix(cut).map(str::to_owned))),
        ("replaceAll", |args| Ok(text(args, 2)?.replace(&text(args, 0)?, &text(args, 1)?).into())),
        ("contains", |args| Ok(text(args, 1)?.contains(&text(args, 0)?).into())),
        ("split", |args| {
            let (separator, text) = (text(args, 0)?, text(args, 1)?);
            Ok(Value::Array(text.split(&separator).map(Value::from).collect()))
        }),
        ("join", |args| {
            let Some(Value::Array(items)) = args.get(1) else { return Err(wrong("join needs a list")) };
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            Ok(items.join(&text(args, 0)?).into())
        }),
        ("base64Encode", |args| Ok(BASE64.encode(text(args, 0)?).into())),
        ("base64Decode", |args| {
            let bytes = BASE64.decode(text(args, 0)?).map_err(wrong)?;
            String::from_utf8(bytes).map(Value::from).map_err(wrong)
        }),
        ("toJSON", |args| serde_json::to_string(&text(args, 0)?).map(Value::from).map_err(wrong)),
        ("parseInt", |args| Ok(int(args, 0)?.into())),
        ("add", |args| calculated(args, i64::checked_add)),
        ("subtract", |args| calculated(args, i64::checked_sub)),
        ("multiply", |args| calculated(args, i64::checked_mul)),
        ("divide", |args| calculated(args, i64::checked_div)),
        // `loop 3` is 0, 1, 2; `loop 1 3` is 1, 2.
        ("loop", |args| {
            let (from, to) = if args.len() > 1 { (int(args, 0)?, int(args, 1)?) } else { (0, int(args, 0)?) };
            if to.saturating_sub(from) > LONGEST {
                return Err(wrong(format!("loop counts to {LONGEST} at most")));
            }
            Ok(Value::Array((from..to).map(Value::from).collect()))
        }),
    ];
    for (name, func) in functions {
        template.add_func(name, func);
    }
}

fn variable(name: &str) -> Option<String> {
    ENVIRONMENT.with_borrow(|known| known.get(name).cloned())
}

fn wrong(message: impl std::fmt::Display) -> FuncError {
    FuncError::Generic(message.to_string())
}

fn text(args: &[Value], index: usize) -> Result<String, FuncError> {
    match args.get(index) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => Err(FuncError::AtLeastXArgs("a function".to_owned(), index + 1)),
    }
}

fn int(args: &[Value], index: usize) -> Result<i64, FuncError> {
    let text = text(args, index)?;
    text.trim().parse().map_err(|_| wrong(format!("{text:?} is not a whole number")))
}

fn stripped(args: &[Value], strip: impl Fn(&str, &str) -> Option<String>) -> FuncResult {
    let (cut, text) = (text(args, 0)?, text(args, 1)?);
    Ok(strip(&text, &cut).unwrap_or(text).into())
}

/// Nomad's templates calculate backwards, for pipes: `subtract 1 3` is 2.
fn calculated(args: &[Value], calculate: fn(i64, i64) -> Option<i64>) -> FuncResult {
    let number = calculate(int(args, 1)?, int(args, 0)?);
    number.map(Value::from).ok_or_else(|| wrong("there is no such number"))
}
