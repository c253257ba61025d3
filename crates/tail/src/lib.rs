//! The end of what may be long, such as a command's output: the last bytes or lines, in bounded memory.

use std::collections::VecDeque;

/// The last items that were pushed, and no more than so many. Its memory never exceeds theirs.
#[derive(Clone, Debug)]
pub struct Tail<T> {
    most: usize,
    items: VecDeque<T>,
    cut: bool,
}

impl<T> Tail<T> {
    /// Of so many items at most.
    pub const fn new(most: usize) -> Self {
        Self { most, items: VecDeque::new(), cut: false }
    }

    /// Appends an item; drops the first one where there is no room.
    pub fn push(&mut self, item: T) {
        self.make_room(1);
        if self.most > 0 {
            self.items.push_back(item);
        }
    }

    /// Whether the beginning was dropped.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// The items, from the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// The items alone.
    pub fn into_vec(self) -> Vec<T> {
        self.items.into()
    }

    /// Drops what has no room beside so many other items, and allocates for those: doubling, but never above the limit.
    fn make_room(&mut self, more: usize) {
        let surplus = (self.items.len() + more).saturating_sub(self.most);
        self.cut |= surplus > 0;
        self.items.drain(..surplus.min(self.items.len()));
        let needed = (self.items.len() + more).min(self.most);
        if needed > self.items.capacity() {
            let capacity = needed.max(2 * self.items.capacity()).min(self.most);
            self.items.reserve_exact(capacity - self.items.len());
        }
    }
}

impl<T: Copy> Tail<T> {
    /// Appends items; drops the first ones where there is no room.
    pub fn extend_from_slice(&mut self, items: &[T]) {
        self.make_room(items.len());
        self.items.extend(&items[items.len().saturating_sub(self.most)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1 << 20;

    #[test]
    fn of_what_is_long_the_end_is_kept_in_no_more_memory_whatever_pieces_it_comes_in() {
        let whole: Vec<u8> = (0..=250).cycle().take(3 * MOST + 7).collect();

        for piece in [64 << 10, MOST - 1, MOST, MOST + 1, whole.len()] {
            let mut tail = Tail::new(MOST);
            for bytes in whole.chunks(piece) {
                tail.extend_from_slice(bytes);
                assert!(tail.items.capacity() <= MOST, "{} bytes in pieces of {piece}", tail.items.capacity());
            }
            assert!(tail.is_cut());
            assert!(tail.into_vec() == whole[whole.len() - MOST..], "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_short_is_kept_whole() {
        let mut tail = Tail::new(7);
        tail.extend_from_slice(b"one ");
        tail.extend_from_slice(b"two");
        assert!(!tail.is_cut());
        assert_eq!(tail.into_vec(), b"one two");
    }

    #[test]
    fn of_lines_the_last_ones_are_kept() {
        let mut tail = Tail::new(2);
        for line in ["a", "b", "c"] {
            tail.push(line.to_owned());
        }
        assert!(tail.is_cut());
        assert_eq!(tail.iter().collect::<Vec<_>>(), ["b", "c"]);
    }
}
