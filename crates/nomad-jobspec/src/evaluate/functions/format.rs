//! `format` and `formatlist`.

#![expect(clippy::needless_pass_by_value, reason = "the signature that the evaluator calls")]

use hcl::eval::FuncArgs;

use super::{Answer, WIDEST, list, text, tostring};
use crate::body::Value;

pub(super) fn format(args: FuncArgs) -> Answer {
    let values: Vec<Value> = args.iter().skip(1).cloned().collect();
    Ok(formatted(text(&args, 0)?, &values)?.into())
}

pub(super) fn formatlist(args: FuncArgs) -> Answer {
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
            'd' => match value.as_i64() {
                Some(whole) => whole.to_string(),
                None => format!("{:.0}", number()?.trunc()),
            },
            'f' => format!("{:.*}", precision.parse().unwrap_or(6).min(WIDEST), number()?),
            'x' => format!("{:x}", value.as_i64().ok_or("%x needs a whole number")?),
            other => return Err(format!("%{other} is not supported")),
        };
        out.push_str(&padded(&text, width, !matches!(verb, 's' | 'v' | 'q'))?);
    }
    Ok(out)
}

/// `text` in a width, which may begin with `-` (to the left) and with `0` (zeros, for numbers).
fn padded(text: &str, width: &str, number: bool) -> Result<String, String> {
    let wide: usize = match width.trim_start_matches(['-', '+', '0']) {
        "" => 0,
        digits => digits.parse().ok().filter(|wide| *wide <= WIDEST).ok_or(format!("no width above {WIDEST}"))?,
    };
    Ok(match text.strip_prefix('-') {
        _ if width.starts_with('-') => format!("{text:<wide$}"),
        Some(digits) if number && width.starts_with('0') => format!("-{digits:0>0$}", wide.saturating_sub(1)),
        None if number && width.starts_with('0') => format!("{text:0>wide$}"),
        _ => format!("{text:>wide$}"),
    })
}
