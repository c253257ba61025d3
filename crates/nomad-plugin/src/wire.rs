//! Domain types to protobuf messages and back: [`Mirror`] is the one way across.

mod config;
mod error;
mod exec;
mod fingerprint;
mod hclspec;
mod stats;
mod status;

pub(crate) use error::driver_error;
pub(crate) use exec::{events, inputs};

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use go_plugin::text::short;

use crate::id::{AllocId, TaskId};

/// More attributes than a node, a task or an event has.
const MOST_ATTRIBUTES: usize = 1024;

/// As many as a host is sent: what others name is of any number.
pub(crate) fn few<T>(attributes: impl Iterator<Item = (String, T)>) -> BTreeMap<String, T> {
    attributes.take(MOST_ATTRIBUTES).collect()
}

/// Names and values that others wrote, on their way to a host.
pub(crate) fn short_map(texts: BTreeMap<String, String>) -> BTreeMap<String, String> {
    few(texts.into_iter().map(|(name, value)| (short(&name), short(&value))))
}

/// A domain type that has a message `P` on the wire.
pub(crate) trait Mirror<P>: Sized {
    /// The message.
    fn into_wire(self) -> P;
    /// The domain type; what is absent on the wire takes its empty value.
    fn from_wire(message: P) -> Self;
}

macro_rules! same {
    ($($ty:ty),* $(,)?) => {$(
        impl Mirror<$ty> for $ty {
            fn into_wire(self) -> $ty {
                self
            }
            fn from_wire(message: $ty) -> Self {
                message
            }
        }
    )*};
}

same!(bool, u8, u32, i32, u64, i64, f64, String, BTreeMap<String, String>, BTreeMap<String, i32>);

macro_rules! text {
    ($($ty:ty),*) => {$(
        impl Mirror<String> for $ty {
            fn into_wire(self) -> String {
                self.into()
            }
            fn from_wire(message: String) -> Self {
                message.into()
            }
        }
    )*};
}

text!(TaskId, AllocId);

impl<P, T: Mirror<P>> Mirror<Option<P>> for Option<T> {
    fn into_wire(self) -> Option<P> {
        self.map(T::into_wire)
    }
    fn from_wire(message: Option<P>) -> Self {
        message.map(T::from_wire)
    }
}

impl<P, T: Mirror<P>> Mirror<Vec<P>> for Vec<T> {
    fn into_wire(self) -> Vec<P> {
        self.into_iter().map(T::into_wire).collect()
    }
    fn from_wire(message: Vec<P>) -> Self {
        message.into_iter().map(T::from_wire).collect()
    }
}

/// A struct and its message, field by field: `Domain = Message { theirs: ours, ... }`.
macro_rules! mirror {
    ($($domain:ident = $message:path { $($theirs:ident : $ours:ident),* $(,)? })*) => {$(
        impl crate::wire::Mirror<$message> for $domain {
            fn into_wire(self) -> $message {
                use $message as Message;
                Message { $($theirs: crate::wire::Mirror::into_wire(self.$ours)),* }
            }
            fn from_wire(message: $message) -> Self {
                Self { $($ours: crate::wire::Mirror::from_wire(message.$theirs)),* }
            }
        }
    )*};
}
pub(crate) use mirror;

/// An enum and its number on the wire; an unknown number is the first.
macro_rules! mirror_enum {
    ($($domain:ident = $message:path { $($ours:ident = $theirs:ident),* $(,)? } else $fallback:ident)*) => {$(
        impl crate::wire::Mirror<i32> for $domain {
            fn into_wire(self) -> i32 {
                use $message as Message;
                match self { $($domain::$ours => Message::$theirs.into()),* }
            }
            fn from_wire(message: i32) -> Self {
                use $message as Message;
                match Message::try_from(message) {
                    $(Ok(Message::$theirs) => Self::$ours,)*
                    #[expect(unreachable_patterns, reason = "where the domain has every number")]
                    Ok(_) => Self::$fallback,
                    Err(_) => Self::$fallback,
                }
            }
        }
    )*};
}
pub(crate) use mirror_enum;

/// Hosts take an absent time for an error; a time that never came is the year 1.
const NEVER: prost_types::Timestamp = prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 };

/// A time on the wire, present even when it never came.
pub(crate) fn time_or_never(time: Option<SystemTime>) -> prost_types::Timestamp {
    time.map_or(NEVER, prost_types::Timestamp::from)
}

/// A time from the wire; the year 1 and what no clock can show is `None`.
pub(crate) fn time(message: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    message.filter(|at| *at != NEVER).and_then(|at| SystemTime::try_from(at).ok())
}

/// A duration for the wire; what does not fit is the longest there is.
pub(crate) fn to_duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

/// A duration from the wire; absent and negative ones are 0.
pub(crate) fn duration(message: Option<prost_types::Duration>) -> Duration {
    message.and_then(|duration| Duration::try_from(duration).ok()).unwrap_or_default()
}
