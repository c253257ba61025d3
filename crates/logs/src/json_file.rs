//! Parses the engine's json log files: `{"log":"...","stream":"stdout","time":"..."}`, one object per line.
//!
//! An engine killed during a write leaves a partial object, and the next one appends right after it. The characters `{"log":"`
//! cannot occur unescaped in a JSON string, so they mark the start of a whole object.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem};
use serde::Deserialize;

use super::sink::Stream;

const OBJECT: &[u8] = br#"{"log":""#;

/// The content of a piece of a log file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// The bytes of standard output and standard error.
    pub(super) bytes: [Vec<u8>; 2],
    /// Incomplete lines.
    pub(super) cut: u64,
}

impl Decoded {
    pub(super) fn clear(&mut self) {
        self.bytes.iter_mut().for_each(Vec::clear);
        self.cut = 0;
    }
}

/// What follows the piece in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// More may follow: an unfinished line is left for later.
    More,
    /// Nothing will follow: an unfinished line remains incomplete.
    Nothing,
}

/// Decodes the lines of `piece`, and returns how many of its bytes they take.
pub(super) fn decode(piece: &[u8], after: After, decoded: &mut Decoded) -> usize {
    let mut read = 0;
    while let Some(length) = memchr(b'\n', &piece[read..]) {
        line(&piece[read..read + length], decoded);
        read += length + 1;
    }
    if after == After::Nothing && read < piece.len() {
        line(&piece[read..], decoded);
        read = piece.len();
    }
    read
}

fn line(line: &[u8], decoded: &mut Decoded) {
    if line.is_empty() || quick(line, decoded).is_some() || any_json(line, decoded) {
        return;
    }
    let mut starts: Vec<usize> = memmem::find_iter(line, OBJECT).collect();
    if starts.first() != Some(&0) {
        decoded.cut += 1;
    }
    starts.push(line.len());
    for piece in starts.windows(2) {
        let object = &line[piece[0]..piece[1]];
        if quick(object, decoded).is_none() && !any_json(object, decoded) && rescue(object, decoded).is_none() {
            decoded.cut += 1;
        }
    }
}

/// Decodes an object in the engine's own format.
fn quick(object: &[u8], decoded: &mut Decoded) -> Option<()> {
    let [stdout, stderr] = &mut decoded.bytes;
    let start = stdout.len();
    // The stream is named after the text, and it is usually standard output.
    let rest = text(object.strip_prefix(OBJECT)?, stdout).and_then(|rest| {
        let rest = rest.strip_prefix(br#","stream":"std"#)?;
        let whole = rest.ends_with(b"}") && memchr(b'{', rest).is_none();
        whole.then_some(rest)
    });
    match rest {
        Some(rest) if rest.starts_with(br#"out""#) => Some(()),
        Some(rest) if rest.starts_with(br#"err""#) => {
            stderr.extend_from_slice(&stdout[start..]);
            stdout.truncate(start);
            Some(())
        }
        _ => {
            stdout.truncate(start);
            None
        }
    }
}

/// The text of a truncated object, if the text itself is whole.
fn rescue(object: &[u8], decoded: &mut Decoded) -> Option<()> {
    let mut bytes = Vec::new();
    let rest = text(object.strip_prefix(OBJECT)?, &mut bytes)?;
    let stream = if rest.starts_with(br#","stream":"stde"#) { Stream::Stderr } else { Stream::Stdout };
    decoded.bytes[stream.index()].extend_from_slice(&bytes);
    Some(())
}

/// Unescapes a JSON string after its opening quote; returns what follows its closing quote.
fn text<'a>(mut rest: &'a [u8], to: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let special = memchr2(b'"', b'\\', rest)?;
        to.extend_from_slice(&rest[..special]);
        if rest[special] == b'"' {
            return Some(&rest[special + 1..]);
        }
        let escaped = *rest.get(special + 1)?;
        rest = &rest[special + 2..];
        to.push(match escaped {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 12,
            b'"' | b'\\' | b'/' => escaped,
            b'u' => {
                let code = u32::from_str_radix(std::str::from_utf8(rest.get(..4)?).ok()?, 16).ok()?;
                rest = &rest[4..];
                // Half of a surrogate pair is no char: such an object takes the slow path.
                to.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        });
    }
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
}

fn any_json(object: &[u8], decoded: &mut Decoded) -> bool {
    let Ok(object) = serde_json::from_slice::<Object<'_>>(object) else { return false };
    let stream = if object.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    decoded.bytes[stream.index()].extend_from_slice(object.log.as_bytes());
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(piece: &[u8], after: After) -> (usize, String, String, u64) {
        let mut decoded = Decoded::default();
        let read = decode(piece, after, &mut decoded);
        let [stdout, stderr] = decoded.bytes.map(|bytes| String::from_utf8(bytes).unwrap());
        (read, stdout, stderr, decoded.cut)
    }

    #[test]
    fn each_stream_gets_its_own_text() {
        let piece = concat!(
            r#"{"log":"one\n","stream":"stdout","time":"2026-01-02T03:04:05.678Z"}"#,
            "\n",
            r#"{"log":"two \u003c\"é\\\t\u2028\n","stream":"stderr","attrs":{"log":"x"},"time":"2026-01-02T03:04:05.678Z"}"#,
            "\n",
            r#"{"log":"three","stream":"stdout","time":"2026-01-02T03:04:05.678Z"}"#,
            "\n",
        );

        let (read, stdout, stderr, cut) = decoded(piece.as_bytes(), After::More);

        assert_eq!((read, cut), (piece.len(), 0));
        assert_eq!(stdout, "one\nthree");
        assert_eq!(stderr, "two <\"é\\\t\u{2028}\n");
    }

    #[test]
    fn an_unfinished_line_waits_for_its_end() {
        let piece = concat!(r#"{"log":"one\n","stream":"stdout","time":"t"}"#, "\n", r#"{"log":"tw"#);

        assert_eq!(decoded(piece.as_bytes(), After::More), (piece.len() - 10, "one\n".into(), String::new(), 0));
    }

    #[test]
    fn the_line_behind_half_an_object_is_not_lost_wherever_the_object_was_cut() {
        let first = r#"{"log":"one\n","stream":"stderr","time":"2026-01-02T03:04:05.678Z"}"#;
        let second = "{\"log\":\"two\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.678Z\"}\n";
        for cut_at in 1..first.len() {
            let piece = format!("{}{second}", &first[..cut_at]);

            let (read, stdout, stderr, cut) = decoded(piece.as_bytes(), After::More);

            assert_eq!(read, piece.len());
            let text_is_whole = cut_at >= r#"{"log":"one\n""#.len();
            let stream_is_known = cut_at >= r#"{"log":"one\n","stream":"stde"#.len();
            assert_eq!(cut, u64::from(!text_is_whole), "{piece}");
            assert_eq!(stderr, if stream_is_known { "one\n" } else { "" }, "{piece}");
            assert!(stdout.ends_with("two\n"), "{piece}: {stdout}");
            assert_eq!(stdout.len(), if text_is_whole && !stream_is_known { 8 } else { 4 }, "{piece}");
        }
    }

    #[test]
    fn garbage_is_counted_and_skipped() {
        let piece = "\0\0\0\0{\"log\":\"two\\n\",\"stream\":\"stdout\",\"time\":\"t\"}\n";

        assert_eq!(decoded(piece.as_bytes(), After::More), (piece.len(), "two\n".into(), String::new(), 1));
    }

    proptest! {
        #[test]
        fn whatever_text_is_written_comes_back(texts in proptest::collection::vec((".*", any::<bool>()), 0..8)) {
            let mut piece = Vec::new();
            let mut expected = [String::new(), String::new()];
            for (text, stderr) in &texts {
                let stream = if *stderr { "stderr" } else { "stdout" };
                serde_json::to_writer(&mut piece, &serde_json::json!({"log": text, "stream": stream, "time": "t"})).unwrap();
                piece.push(b'\n');
                expected[usize::from(*stderr)].push_str(text);
            }

            let (read, stdout, stderr, cut) = decoded(&piece, After::More);

            prop_assert_eq!((read, cut), (piece.len(), 0));
            prop_assert_eq!([stdout, stderr], expected);
        }
    }
}
