//! What the tasks write: numbered lines in several forms, and how each must arrive.

use conformance::lines::{Judgement, judge};

/// The form of a task's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A few bytes each.
    Short,
    /// A MiB each.
    Long,
    /// Each with bytes that are no text.
    Binary,
    /// A few bytes each, through a terminal.
    Terminal,
}

/// The length of what pads a long line.
const LONG: usize = 1 << 20;
/// What a binary line has behind its number, as printf(1) writes it. None of the bytes joins another to a character.
const BINARY: &str = r#"\001\033[1m\200\377\t\302\205\342\200\250\000"\\<&>"#;
const BYTES: &[u8] = b"\x01\x1b[1m\x80\xff\t\xc2\x85\xe2\x80\xa8\x00\"\\<&>";
/// The last output of a task that is stopped, without a line end.
const END: &[u8] = b"the end";

impl Content {
    pub(crate) const ALL: [Self; 4] = [Self::Short, Self::Long, Self::Binary, Self::Terminal];

    /// A script that writes lines until it is stopped, and where `count` is how many it has written.
    pub(crate) fn script(self) -> String {
        let (print, pause) = match self {
            Self::Short | Self::Terminal => ("echo \"a $n\"".to_owned(), "0.005"),
            Self::Long => ("echo \"a $n $pad\"".to_owned(), "0.1"),
            Self::Binary => (format!("printf 'a %d {BINARY}\\n' $n"), "0.005"),
        };
        let pad =
            if self == Self::Long { format!("pad=$(head -c {LONG} /dev/zero | tr '\\0' x); ") } else { String::new() };
        format!(
            "trap stop=1 TERM; {pad}n=0; while [ -z \"$stop\" ]; do n=$((n+1)); {print}; echo $n > /local/count; \
             sleep {pause}; done; printf 'the end'"
        )
    }

    /// A line as it must arrive, without its end. `is_exact`: the engine stores bytes as they are, not as text.
    fn line(self, number: u64, is_exact: bool) -> Vec<u8> {
        let mut line = format!("a {number}").into_bytes();
        match self {
            Self::Short => {}
            Self::Long => {
                line.push(b' ');
                line.resize(line.len() + LONG, b'x');
            }
            Self::Binary => {
                line.push(b' ');
                if is_exact {
                    line.extend_from_slice(BYTES);
                } else {
                    line.extend_from_slice(String::from_utf8_lossy(BYTES).as_bytes());
                }
            }
            Self::Terminal => line.push(b'\r'),
        }
        line
    }

    /// About how many bytes a line has.
    pub(crate) fn length(self) -> usize {
        if self == Self::Long { LONG } else { 6 }
    }

    /// Judges the output of a task that was stopped after `last` lines; each line counts only if it is whole.
    pub(crate) fn judge(self, came: &[u8], last: u64, is_exact: bool) -> (Judgement, Vec<String>) {
        let mut torn = Vec::new();
        let mut numbers = Vec::new();
        let lines = came.strip_suffix(END).unwrap_or_else(|| {
            torn.push(format!("not the end: {}", shown(&came[came.len().saturating_sub(60)..])));
            came
        });
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(number) = number(line).filter(|number| self.line(*number, is_exact) == line) {
                numbers.extend_from_slice(format!("a {number}\n").as_bytes());
            } else {
                torn.push(shown(line));
                numbers.extend_from_slice(b"torn\n");
            }
        }
        (judge(&numbers, "a", last), torn)
    }
}

fn number(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"a ")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn shown(line: &[u8]) -> String {
    let begin = &line[..line.len().min(60)];
    format!("{} ({} bytes)", begin.escape_ascii(), line.len())
}
