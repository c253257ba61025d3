//! Durations as Go writes them: `1h15m30.918s`.

use std::time::Duration;

/// Why a text is no duration; in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a sequence of numbers with units, or too long.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that Go does not know; days are the usual case.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Go reads it, but no option means it.
    #[error("negative duration {0:?}")]
    Negative(String),
}

/// Reads a duration as Go's `time.ParseDuration` does, save that less than nothing is an error.
pub fn parse_go_duration(text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (part, behind) = part(text, rest)?;
        total = total.checked_add(part).filter(|total| i64::try_from(*total).is_ok()).ok_or_else(invalid)?;
        rest = behind;
    }
    if negative && total > 0 {
        return Err(DurationError::Negative(text.to_owned()));
    }
    Ok(Duration::from_nanos(total))
}

/// One number with its unit, in nanoseconds, and what follows it.
fn part<'a>(text: &str, rest: &'a str) -> Result<(u64, &'a str), DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (whole, rest) = digits(rest);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let end = rest.find(|char: char| char == '.' || char.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let nanoseconds: u64 = match unit {
        "" => return Err(DurationError::MissingUnit(text.to_owned())),
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() }),
    };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let whole = whole.checked_mul(nanoseconds).ok_or_else(invalid)?;
    let part = whole.checked_add(fraction_of(fraction, nanoseconds)).ok_or_else(invalid)?;
    Ok((part, rest))
}

/// `0.<digits>` of a unit. Digits that change less than a nanosecond are dropped.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let mut part = 0;
    let mut place = u128::from(unit) * 1_000_000;
    for digit in digits.bytes().map(|digit| u128::from(digit - b'0')) {
        place /= 10;
        part += digit * place;
    }
    u64::try_from(part / 1_000_000).unwrap_or(unit)
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_and_their_sums_are_read() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("+5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("250ms", 250_000_000),
            ("3us4µs5μs6ns", 12_006),
            ("-0s", 0),
        ] {
            let read = parse_go_duration(text).map(|duration| duration.as_nanos());
            let off = read.clone().unwrap_or(u128::MAX).abs_diff(nanoseconds);
            assert!(off <= 1, "{text}: {read:?}");
        }
    }

    #[test]
    fn errors_read_as_go_says_them() {
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("soon", "time: invalid duration \"soon\""),
            (".s", "time: invalid duration \".s\""),
            ("5", "time: missing unit in duration \"5\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            ("-5m", "negative duration \"-5m\""),
        ] {
            assert_eq!(parse_go_duration(text).unwrap_err().to_string(), error);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.hmsnuµd ]{0,24}|\\PC{0,12}") {
            let _either = parse_go_duration(&text);
        }

        #[test]
        fn whole_seconds_come_back(seconds in 0u32..) {
            prop_assert_eq!(parse_go_duration(&format!("{seconds}s")), Ok(Duration::from_secs(seconds.into())));
        }
    }
}
