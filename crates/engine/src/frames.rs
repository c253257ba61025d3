//! The frames in which the engine sends the output of a container or a command: one byte for the stream, three empty bytes,
//! four for the length. A terminal's output is not framed.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::inspected::time;

const HEADER: usize = 8;
/// The engine stores a line of a terminal that is longer than this in parts of this length, and sends each behind a timestamp
/// of its own (RFC 3339, then a space), without a line end.
const PART: usize = 16 << 10;
/// The longest timestamp, with its space.
const STAMP: usize = 40;

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Whether it is standard error.
    pub(super) stderr: bool,
    /// The bytes.
    pub(super) bytes: Bytes,
}

/// A frame, or a line of a terminal, that exceeds the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Decodes frames.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    /// The frame that has begun: its stream, and how much of it is still to come.
    begun: Option<(bool, usize)>,
    /// How much of the buffer is known to contain no line end.
    searched: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Whole frames, or whole lines if the output is not framed. A stored part of a line counts as a line.
    Whole(usize),
    /// As it arrives, without waiting for the rest of a frame.
    Pieces,
    /// As it arrives, unframed.
    Terminal,
}

impl Frames {
    /// Yields whole frames of at most `most` bytes, or whole lines if the output is not framed.
    pub(super) fn whole(most: usize) -> Self {
        Self::new(Form::Whole(most))
    }

    /// Yields the content of frames as it arrives.
    pub(super) fn pieces() -> Self {
        Self::new(Form::Pieces)
    }

    /// Yields everything as it arrives, unframed.
    pub(super) fn terminal() -> Self {
        Self::new(Form::Terminal)
    }

    fn new(form: Form) -> Self {
        Self { buffer: BytesMut::new(), begun: None, searched: 0, form }
    }

    /// Adds bytes. Take all complete pieces before adding more.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete piece.
    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>, TooLong> {
        loop {
            if self.buffer.is_empty() && self.begun.is_none_or(|(_, left)| left > 0) {
                return Ok(None);
            }
            if self.form == Form::Terminal {
                return Ok(Some(self.piece(false, self.buffer.len())));
            }
            let Some((stderr, left)) = self.begun else {
                if self.buffer[0] > 2 {
                    return self.unframed();
                }
                if self.buffer.len() < HEADER {
                    return Ok(None);
                }
                let mut header = self.buffer.split_to(HEADER);
                let stderr = header[0] == 2;
                header.advance(4);
                self.begun = Some((stderr, header.get_u32() as usize));
                continue;
            };
            let there = left.min(self.buffer.len());
            match self.form {
                Form::Whole(most) if left > most => return Err(TooLong),
                Form::Whole(_) if there < left => return Ok(None),
                _ => {}
            }
            self.begun = (there < left).then_some((stderr, left - there));
            if left > 0 {
                return Ok(Some(self.piece(stderr, there)));
            }
        }
    }

    /// The rest of a terminal's last line, once the input has ended.
    pub(super) fn rest(&mut self) -> Option<Piece> {
        let is_line = self.begun.is_none() && self.buffer.first().is_some_and(|first| *first > 2);
        is_line.then(|| self.piece(false, self.buffer.len()))
    }

    /// Whether a frame has begun whose rest has not come. Once the input has ended, and after [`Self::rest`], it never will.
    pub(super) fn is_within(&self) -> bool {
        self.begun.map_or(self.form != Form::Terminal && !self.buffer.is_empty(), |(_, left)| left > 0)
    }

    fn unframed(&mut self) -> Result<Option<Piece>, TooLong> {
        let Form::Whole(most) = self.form else { return Ok(Some(self.piece(false, self.buffer.len()))) };
        let unsearched = std::mem::replace(&mut self.searched, self.buffer.len());
        let end = memchr(b'\n', &self.buffer[unsearched..]).map(|end| unsearched + end);
        if let Some(part) = self.part().filter(|part| end.is_none_or(|end| end >= *part)) {
            return Ok(Some(self.piece(false, part)));
        }
        match end {
            Some(end) if end <= most => Ok(Some(self.piece(false, end + 1))),
            None if self.buffer.len() <= most => Ok(None),
            _ => Err(TooLong),
        }
    }

    /// The length of the stored part at the beginning, if another one follows it.
    fn part(&self) -> Option<usize> {
        let blank = |bytes: &[u8]| memchr(b' ', &bytes[..bytes.len().min(STAMP)]);
        let part = blank(&self.buffer)? + 1 + PART;
        let next = self.buffer.get(part..)?;
        let stamp = std::str::from_utf8(&next[..blank(next)?]).ok()?;
        time(stamp).map(|_| part)
    }

    fn piece(&mut self, stderr: bool, length: usize) -> Piece {
        self.searched = 0;
        Piece { stderr, bytes: self.buffer.split_to(length).freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], text.as_bytes()].concat()
    }

    fn all(mut frames: Frames, bytes: &[u8], size: usize) -> Result<Vec<(bool, String)>, TooLong> {
        let mut all: Vec<Piece> = Vec::new();
        for piece in bytes.chunks(size) {
            frames.push(piece);
            while let Some(piece) = frames.next_piece()? {
                all.push(piece);
            }
        }
        all.extend(frames.rest());
        Ok(all.into_iter().map(|piece| (piece.stderr, String::from_utf8_lossy(&piece.bytes).into_owned())).collect())
    }

    #[test]
    fn frames_are_whole_in_whatever_pieces_they_come() {
        let bytes = [frame(1, "out"), frame(1, ""), frame(2, "err"), frame(0, "in")].concat();
        let expected = [(false, "out".to_owned()), (true, "err".to_owned()), (false, "in".to_owned())];

        for size in 1..bytes.len() {
            assert_eq!(all(Frames::whole(3), &bytes, size).unwrap(), expected, "pieces of {size}");
        }
        assert_eq!(all(Frames::whole(2), &bytes, 1), Err(TooLong));
    }

    #[test]
    fn lines_without_frames_are_whole_as_well() {
        let expected = [(false, "one\n".to_owned()), (false, "two".to_owned())];

        for size in 1..8 {
            assert_eq!(all(Frames::whole(9), b"one\ntwo", size).unwrap(), expected, "pieces of {size}");
        }
        assert_eq!(all(Frames::whole(9), b"longer than nine", 1), Err(TooLong));
    }

    #[test]
    fn a_terminals_long_line_comes_in_its_stored_parts_each_behind_its_own_time() {
        const STAMP: &str = "2026-12-01T16:35:28.400869792Z ";
        let (part, other) = ("x".repeat(PART), "y".repeat(PART));
        let stored = [
            format!("{STAMP}{part}"),
            format!("{STAMP}{other}"),
            format!("{STAMP}end of it\r\n"),
            format!("{STAMP}{part}"),
            format!("{STAMP}\n"),
            // The task's own text of that form is none.
            format!("{STAMP}{}{STAMP}\n", "z".repeat(PART - 1)),
            format!("{STAMP}the next\r\n"),
        ];

        for size in [1, 1000, PART, 1 << 20] {
            let came: Vec<_> = all(Frames::whole(4 << 20), stored.concat().as_bytes(), size).unwrap();
            let texts: Vec<_> = came.into_iter().map(|(_, text)| text).collect();
            assert!(texts == stored, "pieces of {size}");
        }
        let endless = stored[..2].concat().repeat(200);
        assert!(all(Frames::whole(4 << 20), endless.as_bytes(), 1 << 16).is_ok());
    }

    #[test]
    fn an_end_is_within_a_frame_or_between_two() {
        let bytes = [frame(1, "out"), frame(2, "err")].concat();
        let is_within = |mut frames: Frames, bytes: &[u8]| {
            frames.push(bytes);
            while frames.next_piece().unwrap().is_some() {}
            let _line = frames.rest();
            frames.is_within()
        };

        for end in 0..=bytes.len() {
            let expected = ![0, 11, 22].contains(&end);
            assert_eq!(is_within(Frames::pieces(), &bytes[..end]), expected, "pieces of {end} bytes");
            assert_eq!(is_within(Frames::whole(9), &bytes[..end]), expected, "whole frames of {end} bytes");
            assert!(!is_within(Frames::terminal(), &bytes[..end]), "a terminal's {end} bytes");
        }
        assert!(!is_within(Frames::whole(9), b"one\ntwo"), "a terminal's line");
    }

    #[test]
    fn pieces_are_not_waited_for_and_a_terminal_has_no_frames() {
        let bytes = [frame(1, "out"), frame(2, "err")].concat();
        let joined = |pieces: Vec<(bool, String)>, stderr| {
            pieces.into_iter().filter(|(is, _)| *is == stderr).map(|(_, text)| text).collect::<String>()
        };

        for size in 1..bytes.len() {
            let pieces = all(Frames::pieces(), &bytes, size).unwrap();
            assert_eq!((joined(pieces.clone(), false), joined(pieces, true)), ("out".into(), "err".into()));
        }
        let mut endless = Frames::pieces();
        endless.push(&[1, 0, 0, 0, 255, 255, 255, 255, b'x']);
        assert_eq!(endless.next_piece().unwrap().unwrap().bytes, "x");
        assert_eq!(endless.next_piece(), Ok(None));
        assert_eq!(all(Frames::terminal(), &bytes, 99).unwrap()[0].1.as_bytes(), bytes);
    }
}
