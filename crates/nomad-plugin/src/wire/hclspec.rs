//! Schemas. A node that a newer peer would send and this side does not know is an error, not a guess.

use crate::{
    hclspec::{SchemaError, Spec, Type},
    proto::hclspec as wire,
};

impl From<Spec> for wire::Spec {
    fn from(spec: Spec) -> Self {
        use wire::spec::Block;
        let nested = |spec: Box<Spec>| Some(Box::new(Self::from(*spec)));
        let block = match spec {
            Spec::Object(children) => {
                let attributes = children.into_iter().map(|(name, spec)| (name, spec.into())).collect();
                Block::Object(wire::Object { attributes })
            }
            Spec::Array(items) => Block::Array(wire::Array { values: items.into_iter().map(Into::into).collect() }),
            Spec::Attr { name, ty, required } => Block::Attr(wire::Attr { name, r#type: ty.to_string(), required }),
            Spec::Block { name, required, nested: body } => {
                Block::BlockValue(Box::new(wire::Block { name, required, nested: nested(body) }))
            }
            Spec::BlockAttrs { name, ty, required } => {
                Block::BlockAttrs(wire::BlockAttrs { name, r#type: ty.to_string(), required })
            }
            Spec::BlockList { name, min, max, nested: body } => Block::BlockList(Box::new(wire::BlockList {
                name,
                min_items: min,
                max_items: max,
                nested: nested(body),
            })),
            Spec::BlockSet { name, min, max, nested: body } => {
                Block::BlockSet(Box::new(wire::BlockSet { name, min_items: min, max_items: max, nested: nested(body) }))
            }
            Spec::BlockMap { name, labels, nested: body } => {
                Block::BlockMap(Box::new(wire::BlockMap { name, labels, nested: nested(body) }))
            }
            Spec::Default { primary, default } => {
                Block::Default(Box::new(wire::Default { primary: nested(primary), default: nested(default) }))
            }
            Spec::Literal(value) => Block::Literal(wire::Literal { value }),
        };
        Self { block: Some(block) }
    }
}

impl TryFrom<wire::Spec> for Spec {
    type Error = SchemaError;

    fn try_from(message: wire::Spec) -> Result<Self, SchemaError> {
        use wire::spec::Block;
        Ok(match message.block.ok_or(SchemaError::Kind)? {
            Block::Object(object) => {
                let children = object.attributes.into_iter().map(|(name, spec)| Ok((name, spec.try_into()?)));
                Self::Object(children.collect::<Result<_, SchemaError>>()?)
            }
            Block::Array(array) => Self::Array(array.values.into_iter().map(Self::try_from).collect::<Result<_, _>>()?),
            Block::Attr(attr) => {
                Self::Attr { name: attr.name, ty: attr.r#type.parse::<Type>()?, required: attr.required }
            }
            Block::BlockValue(block) => {
                Self::Block { name: block.name, required: block.required, nested: nested(block.nested)? }
            }
            Block::BlockAttrs(attrs) => {
                Self::BlockAttrs { name: attrs.name, ty: attrs.r#type.parse::<Type>()?, required: attrs.required }
            }
            Block::BlockList(list) => Self::BlockList {
                name: list.name,
                min: list.min_items,
                max: list.max_items,
                nested: nested(list.nested)?,
            },
            Block::BlockSet(set) => {
                Self::BlockSet { name: set.name, min: set.min_items, max: set.max_items, nested: nested(set.nested)? }
            }
            Block::BlockMap(map) => Self::BlockMap { name: map.name, labels: map.labels, nested: nested(map.nested)? },
            Block::Default(both) => Self::Default { primary: nested(both.primary)?, default: nested(both.default)? },
            Block::Literal(literal) => Self::Literal(literal.value),
        })
    }
}

fn nested(message: Option<Box<wire::Spec>>) -> Result<Box<Spec>, SchemaError> {
    Ok(Box::new(Spec::try_from(*message.ok_or(SchemaError::Kind)?)?))
}
