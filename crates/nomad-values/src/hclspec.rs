//! A configuration schema as plain data: what the driver says it accepts, and what the host decodes HCL against.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// One node of a schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// Named children; decodes to a map with every name present.
    Object(BTreeMap<String, Spec>),
    /// Positional children; decodes to an array.
    Array(Vec<Spec>),
    /// One attribute `name = value`.
    Attr {
        /// The attribute's name.
        name: String,
        /// Its type.
        ty: Type,
        /// Whether its absence is an error.
        required: bool,
    },
    /// One block of a name, at most once; absent decodes to nil.
    Block {
        /// The block's name.
        name: String,
        /// Whether its absence is an error.
        required: bool,
        /// The schema of its body.
        nested: Box<Spec>,
    },
    /// A block whose body is any attributes of one type; decodes to a map, absent to nil.
    BlockAttrs {
        /// The block's name.
        name: String,
        /// The type of every value.
        ty: Type,
        /// Whether its absence is an error.
        required: bool,
    },
    /// Blocks of one name, in order; decodes to an array.
    BlockList {
        /// The blocks' name.
        name: String,
        /// The least count that is accepted.
        min: u64,
        /// The greatest count that is accepted; 0 is no limit.
        max: u64,
        /// The schema of each body.
        nested: Box<Spec>,
    },
    /// Like [`Spec::BlockList`], order without meaning.
    BlockSet {
        /// The blocks' name.
        name: String,
        /// The least count that is accepted.
        min: u64,
        /// The greatest count that is accepted; 0 is no limit.
        max: u64,
        /// The schema of each body.
        nested: Box<Spec>,
    },
    /// Labelled blocks; decodes to nested maps, one level a label.
    BlockMap {
        /// The blocks' name.
        name: String,
        /// The names of their labels.
        labels: Vec<String>,
        /// The schema of each body.
        nested: Box<Spec>,
    },
    /// `primary`, or `default` where that decodes to nil.
    Default {
        /// The schema that is tried first.
        primary: Box<Spec>,
        /// The value to use otherwise, as a rule a [`Spec::Literal`].
        default: Box<Spec>,
    },
    /// A constant: an HCL expression, evaluated by the host.
    Literal(String),
}

/// The type of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `string`
    String,
    /// `number`
    Number,
    /// `bool`
    Bool,
    /// `any`
    Any,
    /// `list(T)`
    List(Box<Type>),
    /// `set(T)`
    Set(Box<Type>),
    /// `map(T)`
    Map(Box<Type>),
}

impl Spec {
    /// An optional attribute.
    pub fn attr(name: &str, ty: Type) -> Self {
        Self::Attr { name: name.to_owned(), ty, required: false }
    }

    /// An attribute that must be there.
    pub fn required_attr(name: &str, ty: Type) -> Self {
        Self::Attr { name: name.to_owned(), ty, required: true }
    }

    /// Named children.
    pub fn object<const N: usize>(children: [(&str, Self); N]) -> Self {
        Self::Object(children.into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect())
    }

    /// An optional block.
    pub fn block(name: &str, nested: Self) -> Self {
        Self::Block { name: name.to_owned(), required: false, nested: Box::new(nested) }
    }

    /// Any number of blocks of one name, in order.
    pub fn block_list(name: &str, nested: Self) -> Self {
        Self::BlockList { name: name.to_owned(), min: 0, max: 0, nested: Box::new(nested) }
    }

    /// An optional block of any attributes of one type.
    pub fn block_attrs(name: &str, ty: Type) -> Self {
        Self::BlockAttrs { name: name.to_owned(), ty, required: false }
    }

    /// This schema, or the HCL expression `literal` where it decodes to nil.
    #[must_use]
    pub fn or(self, literal: &str) -> Self {
        Self::Default { primary: Box::new(self), default: Box::new(Self::Literal(literal.to_owned())) }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("string"),
            Self::Number => f.write_str("number"),
            Self::Bool => f.write_str("bool"),
            Self::Any => f.write_str("any"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Set(item) => write!(f, "set({item})"),
            Self::Map(item) => write!(f, "map({item})"),
        }
    }
}

/// A type that no schema knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown type {0:?}")]
pub struct UnknownType(pub String);

/// Why a schema from the wire cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A node without content, or of a kind that is not known here.
    #[error("the schema has a node of an unknown kind")]
    Kind,
    /// An attribute's type.
    #[error(transparent)]
    Type(#[from] UnknownType),
}

impl FromStr for Type {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        let nested = |prefix: &str| text.strip_prefix(prefix)?.strip_prefix('(')?.strip_suffix(')');
        match text {
            "string" => return Ok(Self::String),
            "number" => return Ok(Self::Number),
            "bool" => return Ok(Self::Bool),
            "any" => return Ok(Self::Any),
            _ => {}
        }
        for (prefix, of) in [("list", Self::List as fn(Box<Self>) -> Self), ("set", Self::Set), ("map", Self::Map)] {
            if let Some(item) = nested(prefix) {
                return Ok(of(Box::new(item.trim().parse()?)));
            }
        }
        Err(UnknownType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        let nested = Type::List(Box::new(Type::Map(Box::new(Type::String))));
        assert_eq!(nested.to_string(), "list(map(string))");
        assert_eq!("list(map(string))".parse(), Ok(nested));
        assert_eq!("list(text)".parse::<Type>(), Err(UnknownType("text".into())));
    }
}
