//! Tracks where in the source the unread bytes in the pipes begin: a line is delivered when its reader has read it.

use std::collections::VecDeque;

use super::position::{Place, Position, Unread};

/// The maximum number of remembered places; more are thinned out.
const PLACES: usize = 128;

/// The places that were written from, oldest first, as far back as anything may be unread.
pub(super) struct Trail {
    marks: VecDeque<Mark>,
    /// How much of each stream was written, from an arbitrary origin.
    written: [i64; 2],
}

#[derive(Clone)]
struct Mark {
    place: Place,
    /// How much of each stream had been written when everything before the place's offset had been.
    before: [i64; 2],
}

impl Trail {
    /// Starts at a position, before which some bytes may already be unread.
    pub(super) fn new(position: &Position) -> Self {
        let mut trail = Self { marks: VecDeque::new(), written: [0; 2] };
        if let Some(read) = &position.read {
            let begun = [0, 1].map(|stream| -signed(read.unread[stream]) - signed(read.place.delivered[stream]));
            trail.marks.push_back(Mark { place: read.place.clone(), before: begun });
        }
        trail.reached(&position.place);
        trail
    }

    /// Counts what was written.
    pub(super) fn wrote(&mut self, stream: usize, bytes: u64) {
        self.written[stream] += signed(bytes);
    }

    /// How much of each stream was written, from an arbitrary origin.
    pub(super) fn written(&self) -> [i64; 2] {
        self.written
    }

    /// Records that the position moved to another place in the source.
    pub(super) fn reached(&mut self, place: &Place) {
        let before = [0, 1].map(|stream| self.written[stream] - signed(place.delivered[stream]));
        if self.marks.back().is_some_and(|last| last.place.is_at(place)) {
            self.marks.pop_back();
        }
        self.marks.push_back(Mark { place: place.clone(), before });
        if self.marks.len() > PLACES {
            let last = self.marks.len() - 1;
            let mut index = 0;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 1 || index > last
            });
        }
    }

    /// The place up to which everything was read, if this much of each stream is unread. Earlier places are forgotten.
    pub(super) fn read_out(&mut self, unread: [u64; 2]) -> Unread {
        let read = [0, 1].map(|stream| self.written[stream] - signed(unread[stream]));
        while self.marks.get(1).is_some_and(|next| next.before.iter().zip(read).all(|(before, read)| *before <= read)) {
            self.marks.pop_front();
        }
        let mark = &self.marks[0];
        // Negative: the pipe's content is from before the first place.
        let delivered = [0, 1].map(|stream| (read[stream] - mark.before[stream]).max(0));
        let unread =
            [0, 1].map(|stream| (self.written[stream] - mark.before[stream] - delivered[stream]).unsigned_abs());
        Unread { place: Place { delivered: delivered.map(i64::unsigned_abs), ..mark.place.clone() }, unread }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::position::Source;

    fn place(offset: u64, delivered: [u64; 2]) -> Place {
        Place { source: Source::File { device: 1, inode: 2, first: None }, offset, delivered }
    }

    fn at(place: Place) -> Position {
        Position { place, ..Position::new("id", Source::Engine) }
    }

    #[test]
    fn what_is_unread_is_behind_the_place_to_which_the_reader_came() {
        let mut trail = Trail::new(&at(place(0, [0, 0])));
        for line in 1..=5 {
            trail.wrote(0, 10);
            trail.reached(&place(line * 30, [0, 0]));
        }

        assert_eq!(trail.read_out([0, 0]).place, place(150, [0, 0]));
        trail.wrote(0, 4);
        assert_eq!(trail.read_out([3, 0]).place, place(150, [1, 0]));
    }

    #[test]
    fn a_reader_that_is_away_holds_the_place_where_it_left() {
        let mut trail = Trail::new(&at(place(0, [0, 0])));
        for line in 1..=5 {
            trail.wrote(0, 10);
            trail.reached(&place(line * 30, [0, 0]));
            assert_eq!(trail.read_out([line * 10, 0]).place, place(0, [0, 0]));
        }

        assert_eq!(trail.read_out([25, 0]).place, place(60, [5, 0]));
    }

    #[test]
    fn what_lay_in_the_pipe_before_is_not_taken_for_this_logs() {
        let mut trail = Trail::new(&at(place(0, [0, 0])));
        trail.wrote(0, 10);

        assert_eq!(trail.read_out([110, 0]), Unread { place: place(0, [0, 0]), unread: [10, 0] });
        assert_eq!(trail.read_out([4, 0]), Unread { place: place(0, [6, 0]), unread: [4, 0] });
    }

    #[test]
    fn one_stream_may_be_behind_the_other() {
        let mut trail = Trail::new(&at(place(0, [0, 0])));
        for line in 1..=4 {
            trail.wrote(0, 10);
            trail.wrote(1, 1);
            trail.reached(&place(line * 30, [0, 0]));
        }

        assert_eq!(trail.read_out([0, 3]).place, place(30, [30, 0]));
    }

    #[test]
    fn a_successor_knows_what_its_predecessor_left_unread() {
        let read = Unread { place: place(30, [5, 0]), unread: [15, 0] };
        let mut trail = Trail::new(&Position { read: Some(read), ..at(place(60, [0, 0])) });
        trail.wrote(0, 10);
        trail.reached(&place(90, [0, 0]));

        assert_eq!(trail.read_out([25, 0]).place, place(30, [5, 0]));
        assert_eq!(trail.read_out([10, 0]).place, place(60, [0, 0]));
    }

    proptest! {
        /// However the lines of two streams arrive and are read, exactly the unread bytes follow the place.
        #[test]
        fn never_more_and_never_less_than_the_unread_is_behind_the_place(
            lines in proptest::collection::vec((0usize..2, 1u64..50), 1..600),
            share in [0.0f64..=1.0, 0.0f64..=1.0],
        ) {
            let mut trail = Trail::new(&at(place(0, [0, 0])));
            let mut written = [0u64; 2];
            let mut begins = vec![[0u64; 2]];
            for (number, (stream, bytes)) in lines.iter().enumerate() {
                trail.wrote(*stream, *bytes);
                written[*stream] += bytes;
                trail.reached(&place(number as u64 + 1, [0, 0]));
                begins.push(written);
            }

            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a share of a few thousand")]
            let unread = [0, 1].map(|stream| (written[stream] as f64 * share[stream]) as u64);
            let found = trail.read_out(unread);

            prop_assert_eq!(found.unread, unread);
            let begin = begins[usize::try_from(found.place.offset).unwrap()];
            for stream in 0..2 {
                prop_assert_eq!(begin[stream] + found.place.delivered[stream], written[stream] - unread[stream]);
            }
        }
    }
}
