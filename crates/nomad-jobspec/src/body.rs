//! A file's structure after evaluation: attributes with values, blocks with labels, each with its place.

use std::ops::Range;

pub use hcl::Value;

/// What stands between braces, or in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// In order.
    pub attributes: Vec<Attribute>,
    /// In order.
    pub blocks: Vec<Block>,
    /// Where it stands.
    pub span: Range<usize>,
}

/// `name = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// The value; texts in it may hold references that are known only at run time.
    pub value: Value,
    /// Where the name stands.
    pub span: Range<usize>,
    /// Where the value stands.
    pub value_span: Range<usize>,
    /// The references in it that are known only at run time, also those that variables and locals contain.
    pub references: Vec<Reference>,
    /// Whether its expression has no value, which is a problem reported already; the value is null then.
    pub failed: bool,
}

/// `${name}`, `${name.more}` or `${name["more"]}`, where the file itself gives the name no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name.
    pub name: String,
    /// All of it, as it is looked up: `env.HOME` of `${env["HOME"]}`.
    pub path: String,
    /// Where it stands.
    pub span: Range<usize>,
}

/// `name "label" { ... }`
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The name.
    pub name: String,
    /// The labels.
    pub labels: Vec<String>,
    /// The content.
    pub body: Body,
    /// Where the name stands.
    pub span: Range<usize>,
}

impl Body {
    /// An attribute, by name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The blocks of a name.
    pub fn blocks<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| block.name == name)
    }
}
