//! Configuration values in both dialects of msgpack that Nomad speaks.
//!
//! An agent sends what go-cty writes (every attribute present, sorted keys); older tooling and driver state use
//! go-msgpack's old form (strings as raw: no `str8`, no `bin`). Reading takes either; each has its own writer.

use std::collections::BTreeMap;

use rmp::encode::{write_array_len, write_bool, write_f64, write_map_len, write_nil, write_sint, write_str};

/// A value of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not set.
    Null,
    /// `bool`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// `string`; also a number that neither of the above can hold, in decimal.
    String(String),
    /// A list, a set or a tuple.
    List(Vec<Value>),
    /// A map or an object.
    Map(BTreeMap<String, Value>),
}

/// Why bytes are no value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not msgpack, cut off, or nested too deeply.
    #[error("malformed msgpack: {0}")]
    Malformed(#[from] rmpv::decode::Error),
    /// Bytes behind the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// A map's key is no text.
    #[error("a map's key is no string")]
    Key,
    /// An extension, by which go-cty writes a value that is not known yet.
    #[error("unsupported msgpack extension type {0}")]
    Extension(i8),
}

const MAX_DEPTH: usize = 64;

/// Reads one value in either dialect. No bytes at all are [`Value::Null`].
pub fn decode(mut bytes: &[u8]) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let value = rmpv::decode::read_value_with_max_depth(&mut bytes, MAX_DEPTH)?;
    if !bytes.is_empty() {
        return Err(DecodeError::Trailing(bytes.len()));
    }
    from_rmpv(value)
}

fn from_rmpv(value: rmpv::Value) -> Result<Value, DecodeError> {
    Ok(match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(value) => Value::Bool(value),
        rmpv::Value::Integer(value) => match value.as_i64() {
            Some(int) => Value::Int(int),
            // Beyond i64 the decimal form keeps every digit.
            None => Value::String(value.to_string()),
        },
        rmpv::Value::F32(value) => Value::Float(value.into()),
        rmpv::Value::F64(value) => Value::Float(value),
        rmpv::Value::String(text) => Value::String(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        rmpv::Value::Binary(bytes) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        rmpv::Value::Array(items) => Value::List(items.into_iter().map(from_rmpv).collect::<Result<_, _>>()?),
        rmpv::Value::Map(entries) => Value::Map(entries.into_iter().map(entry).collect::<Result<_, _>>()?),
        rmpv::Value::Ext(kind, _) => return Err(DecodeError::Extension(kind)),
    })
}

fn entry((key, value): (rmpv::Value, rmpv::Value)) -> Result<(String, Value), DecodeError> {
    match from_rmpv(key)? {
        Value::String(key) => Ok((key, from_rmpv(value)?)),
        _ => Err(DecodeError::Key),
    }
}

/// Writes a value as an agent does.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value, |out, text| infallible(write_str(out, text)));
    out
}

/// Writes a value in go-msgpack's old form.
pub fn encode_go(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value, write_raw);
    out
}

fn write(out: &mut Vec<u8>, value: &Value, text: fn(&mut Vec<u8>, &str)) {
    match value {
        Value::Null => infallible(write_nil(out)),
        Value::Bool(value) => infallible(write_bool(out, *value)),
        Value::Int(value) => infallible(write_sint(out, *value)),
        Value::Float(value) => infallible(write_f64(out, *value)),
        Value::String(value) => text(out, value),
        Value::List(items) => {
            infallible(write_array_len(out, length(items.len())));
            for item in items {
                write(out, item, text);
            }
        }
        Value::Map(entries) => {
            infallible(write_map_len(out, length(entries.len())));
            for (key, value) in entries {
                text(out, key);
                write(out, value, text);
            }
        }
    }
}

/// A string as `fixraw`, `raw16` or `raw32`.
fn write_raw(out: &mut Vec<u8>, text: &str) {
    const FIXRAW: u8 = 0xa0;
    const RAW16: u8 = 0xda;
    const RAW32: u8 = 0xdb;
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ 0..32), _) => out.push(FIXRAW | short),
        (_, Ok(medium)) => {
            out.push(RAW16);
            out.extend(medium.to_be_bytes());
        }
        _ => {
            out.push(RAW32);
            out.extend(length(text.len()).to_be_bytes());
        }
    }
    out.extend(text.as_bytes());
}

/// Lengths are 32 bits on the wire; a configuration of 4 GiB does not exist.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Writing to memory does not fail.
fn infallible<T, E>(_written: Result<T, E>) {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            proptest::num::f64::NORMAL.prop_map(Value::Float),
            "\\PC{0,40}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                prop::collection::btree_map("[a-z]{1,8}", inner, 0..8).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_either_writer_wrote_is_read_back(value in values()) {
            prop_assert_eq!(decode(&encode(&value)).unwrap(), value.clone());
            prop_assert_eq!(decode(&encode_go(&value)).unwrap(), value);
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _either = decode(&bytes);
        }
    }

    #[test]
    fn strings_are_written_in_the_form_of_their_dialect() {
        let text = Value::String("x".repeat(40));

        assert_eq!(encode(&text)[..2], [0xd9, 40]);
        assert_eq!(encode_go(&text)[..3], [0xda, 0, 40]);
        assert_eq!(encode_go(&Value::String("ab".into())), [0xa2, b'a', b'b']);
        assert_eq!(encode_go(&Value::String("x".repeat(70_000)))[..5], [0xdb, 0, 1, 0x11, 0x70]);
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        assert!(matches!(decode(&[0xd4, 0, 0]), Err(DecodeError::Extension(0))));
        assert!(matches!(decode(&[0x81, 0x01, 0x02]), Err(DecodeError::Key)));
        assert!(matches!(decode(&[0xc0, 0xc0]), Err(DecodeError::Trailing(1))));
        assert!(matches!(decode(&[0x91; 1000]), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn nothing_bytes_and_huge_numbers_have_a_meaning() {
        assert_eq!(decode(&[]).unwrap(), Value::Null);
        assert_eq!(decode(&[0xc4, 2, b'h', b'i']).unwrap(), Value::String("hi".into()));
        let huge = [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(decode(&huge).unwrap(), Value::String("18446744073709551615".into()));
    }
}
