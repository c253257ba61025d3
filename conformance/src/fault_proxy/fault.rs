//! The faults that there are, and which a call can have.

use std::fmt;

use super::{Answer, Call};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection ends, and the engine has seen nothing.
    Refuse,
    /// Status 500, and the engine has seen nothing.
    ErrorBefore,
    /// Status 500 in place of the engine's answer.
    ErrorAfter,
    /// The connection ends in place of the engine's answer.
    CutAfter,
    /// The connection ends in the midst of the engine's answer.
    CutMidst,
    /// No answer, and the engine has seen nothing.
    HangBefore,
    /// No answer, and the engine has given one.
    HangAfter,
    /// The head of the engine's answer, and then nothing.
    Mute,
    /// The engine's answer, a byte in 100 ms.
    Trickle,
    /// Status 200 and half an object of JSON in place of the engine's answer.
    Garble,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Refuse,
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::CutAfter,
        Self::CutMidst,
        Self::HangBefore,
        Self::HangAfter,
        Self::Mute,
        Self::Trickle,
        Self::Garble,
    ];

    /// Whether a call can have it, and no other one is the same to the caller and to the engine.
    pub fn suits(self, call: &Call, answer: Answer) -> bool {
        match self {
            Self::Refuse | Self::ErrorBefore | Self::HangBefore | Self::Garble => true,
            Self::ErrorAfter | Self::CutAfter | Self::HangAfter => !call.reads(),
            Self::CutMidst | Self::Mute | Self::Trickle => answer != Answer::Empty,
        }
    }

    /// Whether the caller waits until it has waited enough.
    pub fn keeps_waiting(self) -> bool {
        matches!(self, Self::HangBefore | Self::HangAfter | Self::Mute | Self::Trickle)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Refuse => "refuse",
            Self::ErrorBefore => "500 before",
            Self::ErrorAfter => "500 after",
            Self::CutAfter => "cut after",
            Self::CutMidst => "cut midst",
            Self::HangBefore => "hang before",
            Self::HangAfter => "hang after",
            Self::Mute => "mute",
            Self::Trickle => "trickle",
            Self::Garble => "garble",
        })
    }
}
