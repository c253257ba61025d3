//! Splits a stream into lines of bounded length. A line costs time in proportion to its length, however it is chunked.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// How much of an overlong line is kept.
const HEAD: usize = 4 << 10;

/// One line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The complete line.
    Whole(Bytes),
    /// The beginning of a line that exceeds the bound.
    TooLong(Bytes),
}

/// Assembles lines from pieces.
#[derive(Debug)]
pub struct Lines {
    most: usize,
    buffer: BytesMut,
    /// How much of the buffer is known to contain no line end.
    searched: usize,
    /// Whether an overlong line is being skipped.
    skipping: bool,
}

impl Lines {
    /// `most` is the maximum length of a line.
    pub fn new(most: usize) -> Self {
        Self { most, buffer: BytesMut::new(), searched: 0, skipping: false }
    }

    /// Adds a piece. Take all complete lines before adding more.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next line that is complete or already too long. Empty lines are skipped.
    pub fn next_line(&mut self) -> Option<Line> {
        while let Some(at) = memchr(b'\n', &self.buffer[self.searched..]) {
            let line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if let Some(line) = self.line(&line.freeze()) {
                return Some(line);
            }
        }
        self.searched = self.buffer.len();
        if self.searched <= self.most && !self.skipping {
            return None;
        }
        self.searched = 0;
        // Frees the memory that a long line took.
        let line = std::mem::take(&mut self.buffer);
        let first = !std::mem::replace(&mut self.skipping, true);
        first.then(|| too_long(&line))
    }

    /// The unterminated last line, once the input has ended.
    pub fn rest(&mut self) -> Option<Line> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        if self.skipping { None } else { self.line(&rest) }
    }

    fn line(&self, line: &Bytes) -> Option<Line> {
        let line = line.slice_ref(line.strip_suffix(b"\n").unwrap_or(line));
        if line.len() > self.most {
            return Some(too_long(&line));
        }
        let text = line.trim_ascii();
        (!text.is_empty()).then(|| Line::Whole(line.slice_ref(text)))
    }
}

fn too_long(line: &[u8]) -> Line {
    Line::TooLong(Bytes::copy_from_slice(&line[..line.len().min(HEAD)]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(most: usize, pieces: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::new(most);
        let mut all = Vec::new();
        for piece in pieces {
            lines.push(piece);
            all.extend(std::iter::from_fn(|| lines.next_line()));
            assert!(lines.buffer.len() <= most);
        }
        all.extend(lines.rest());
        all
    }

    fn whole(text: &str) -> Line {
        Line::Whole(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn lines_are_the_same_in_whatever_pieces_they_come() {
        let text = b"one\r\n\n two\nlonger than ten\nthree\nfour";
        let long = Line::TooLong(Bytes::from_static(b"longer than ten"));
        let expected = [whole("one"), whole("two"), long.clone(), whole("three"), whole("four")];

        assert_eq!(all(10, &[text]), expected);
        for size in 1..12 {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let lines = all(10, &pieces);
            assert_eq!(lines.len(), 5, "pieces of {size}: {lines:?}");
            assert!(matches!(&lines[2], Line::TooLong(head) if b"longer than ten".starts_with(head)), "{lines:?}");
            assert_eq!([&lines[..2], &lines[3..]].concat(), [&expected[..2], &expected[3..]].concat());
        }
    }

    #[test]
    fn an_endless_line_takes_no_more_than_the_bound_and_is_reported_once() {
        let mut lines = Lines::new(1 << 20);
        let piece = vec![b'x'; 64 << 10];
        let mut reported = 0;

        for _ in 0..1000 {
            lines.push(&piece);
            reported += usize::from(lines.next_line().is_some());
            assert!(lines.buffer.capacity() <= 4 << 20);
        }
        lines.push(b"\nnext\n");

        assert_eq!((reported, lines.next_line()), (1, Some(whole("next"))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_the_same_lines_in_any_pieces(
            pieces in prop::collection::vec("[a \\r\\n]{0,9}", 0..12),
        ) {
            let bytes: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            let kind = |line: &Line| match line {
                Line::Whole(line) => Some(line.clone()),
                Line::TooLong(_) => None,
            };
            let (in_pieces, whole) = (all(8, &bytes), all(8, &[&bytes.concat()]));
            prop_assert_eq!(in_pieces.iter().map(kind).collect::<Vec<_>>(), whole.iter().map(kind).collect::<Vec<_>>());
        }
    }
}
