//! Any bytes, in any pieces, as the engine's events: each line is an event, of no interest, or may have been any.

#![no_main]

use engine::{EngineEvent, Line, Lines, read_event};
use libfuzzer_sys::fuzz_target;

const MOST: usize = 256;

fn lines(pieces: &[&[u8]]) -> Vec<Line> {
    let mut lines = Lines::new(MOST);
    let mut all = Vec::new();
    for piece in pieces {
        lines.push(piece);
        all.extend(std::iter::from_fn(|| lines.next_line()));
    }
    all.extend(lines.rest());
    all
}

fuzz_target!(|pieces: Vec<&[u8]>| {
    let in_pieces = lines(&pieces);
    let whole = lines(&[&pieces.concat()]);
    assert_eq!(in_pieces.len(), whole.len());
    for (one, other) in in_pieces.iter().zip(&whole) {
        match (one, other) {
            (Line::Whole(one), Line::Whole(other)) => {
                assert!(one == other && one.len() <= MOST);
                if let Some(EngineEvent::Container(event)) = read_event(one) {
                    assert!(event.container.len() <= MOST);
                }
            }
            // How much came of it when it was too long is the pieces' doing.
            (Line::TooLong(_), Line::TooLong(_)) => {}
            other => panic!("{other:?}"),
        }
    }
});
