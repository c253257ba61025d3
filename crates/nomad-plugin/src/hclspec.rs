//! A configuration schema as plain data: what the driver says it accepts, and what the host decodes HCL against.

use std::collections::BTreeMap;

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
