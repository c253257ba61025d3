//! A variable's `type`: `string`, `list(number)`, `object({ name = string })`, ...

use hcl_edit::expr::{Expression, ObjectKey, ObjectValue};

use crate::body::Value;

/// A variable's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Variable {
    /// `string`
    String,
    /// `number`
    Number,
    /// `bool`
    Bool,
    /// `list(T)`
    List(Box<Variable>),
    /// `set(T)`
    Set(Box<Variable>),
    /// `map(T)`
    Map(Box<Variable>),
    /// `object({ name = T })`, by the attributes' names.
    Object(Vec<(String, Variable)>),
    /// `tuple([T])`
    Tuple(Vec<Variable>),
    /// `optional(T)`, inside an object.
    Optional(Box<Variable>),
    /// `any`
    Any,
}

impl Variable {
    pub(super) fn of(expression: &Expression) -> Option<Self> {
        match expression {
            Expression::Variable(name) => Some(match name.as_str() {
                "string" => Self::String,
                "number" => Self::Number,
                "bool" => Self::Bool,
                "any" => Self::Any,
                "list" => Self::List(Box::new(Self::Any)),
                "set" => Self::Set(Box::new(Self::Any)),
                "map" => Self::Map(Box::new(Self::Any)),
                _ => return None,
            }),
            // The form of JSON, and of HCL 1.
            Expression::String(text) => {
                hcl_edit::parser::parse_expr(text.as_str()).ok().filter(|ty| !ty.is_str()).as_ref().and_then(Self::of)
            }
            Expression::FuncCall(call) => {
                let of = || call.args.iter().next().and_then(Self::of).map(Box::new);
                match call.name.name.as_str() {
                    "list" => of().map(Self::List),
                    "set" => of().map(Self::Set),
                    "map" => of().map(Self::Map),
                    "optional" => of().map(Self::Optional),
                    "object" => {
                        call.args.iter().next()?.as_object()?.iter().map(field).collect::<Option<_>>().map(Self::Object)
                    }
                    "tuple" => call
                        .args
                        .iter()
                        .next()?
                        .as_array()?
                        .iter()
                        .map(Self::of)
                        .collect::<Option<_>>()
                        .map(Self::Tuple),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The value in this type, converted where HCL converts.
    pub(super) fn convert(&self, value: Value) -> Result<Value, String> {
        match (self, value) {
            (Self::Any, value) => Ok(value),
            (_, Value::Null) => Ok(Value::Null),
            (Self::String, Value::String(text)) => Ok(Value::String(text)),
            (Self::String, Value::Bool(truth)) => Ok(Value::String(truth.to_string())),
            (Self::String, Value::Number(number)) => Ok(Value::String(number.to_string())),
            (Self::Number, Value::Number(number)) => Ok(Value::Number(number)),
            (Self::Number, Value::String(text)) => number(&text),
            (Self::Bool, Value::Bool(truth)) => Ok(Value::Bool(truth)),
            (Self::Bool, Value::String(text)) => match text.as_str() {
                "true" | "1" => Ok(Value::Bool(true)),
                "false" | "0" => Ok(Value::Bool(false)),
                _ => Err(format!("a bool is needed, this is {text:?}")),
            },
            (Self::List(of), Value::Array(items)) => {
                Ok(Value::Array(items.into_iter().map(|item| of.convert(item)).collect::<Result<_, _>>()?))
            }
            (Self::Set(of), Value::Array(items)) => {
                let mut distinct: Vec<Value> = Vec::new();
                for item in items {
                    let item = of.convert(item)?;
                    if !distinct.contains(&item) {
                        distinct.push(item);
                    }
                }
                Ok(Value::Array(distinct))
            }
            (Self::Optional(of), value) => of.convert(value),
            (Self::Tuple(of), Value::Array(items)) if items.len() == of.len() => {
                of.iter().zip(items).map(|(of, item)| of.convert(item)).collect()
            }
            (Self::Tuple(of), value) => Err(format!("a list of {} elements is needed, this is {value}", of.len())),
            (Self::Object(fields), Value::Object(mut given)) => {
                let field = |(name, of): &(String, Self)| match given.swap_remove(name) {
                    Some(value) => {
                        let value = of.convert(value).map_err(|error| format!("attribute {name:?}: {error}"))?;
                        Ok((name.clone(), value))
                    }
                    None if matches!(of, Self::Optional(_)) => Ok((name.clone(), Value::Null)),
                    None => Err(format!("attribute {name:?} is required")),
                };
                Ok(Value::Object(fields.iter().map(field).collect::<Result<_, _>>()?))
            }
            (Self::Map(of), Value::Object(items)) => {
                let items = items.into_iter().map(|(key, item)| Ok((key, of.convert(item)?)));
                Ok(Value::Object(items.collect::<Result<_, String>>()?))
            }
            (ty, value) => Err(format!("{} is needed, this is {value}", ty.article())),
        }
    }

    fn article(&self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a bool",
            Self::List(_) | Self::Set(_) | Self::Tuple(_) => "a list",
            Self::Map(_) => "a map",
            Self::Object(_) => "an object",
            Self::Optional(of) => of.article(),
            Self::Any => "a value",
        }
    }
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(int) = text.parse::<i64>() {
        return Ok(int.into());
    }
    let float = text.parse::<f64>().ok().and_then(hcl::Number::from_f64);
    float.map(Value::Number).ok_or_else(|| format!("a number is needed, this is {text:?}"))
}

/// An attribute of an object's type.
fn field((key, ty): (&ObjectKey, &ObjectValue)) -> Option<(String, Variable)> {
    let name = match key {
        ObjectKey::Ident(name) | ObjectKey::Expression(Expression::Variable(name)) => name.as_str(),
        ObjectKey::Expression(name) => name.as_str()?,
    };
    Some((name.to_owned(), Variable::of(ty.expr())?))
}
