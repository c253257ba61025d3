//! The queue of pulls: the first few may pull, the others wait in the order in which they came.

use std::collections::VecDeque;

use tokio::sync::watch;

/// A queue. Clones are the same queue.
#[derive(Clone, Debug)]
pub(super) struct Queue(watch::Sender<Line>);

#[derive(Debug)]
struct Line {
    /// Those who pull, and behind them those who wait.
    tickets: VecDeque<u64>,
    next: u64,
    /// How many may pull at once.
    open: usize,
}

/// A place in the queue, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    queue: Queue,
}

impl Line {
    /// How many have to begin before, this one included: 0 is that it may pull.
    fn place(&self, number: u64) -> usize {
        let ahead = self.tickets.iter().position(|ticket| *ticket == number).unwrap_or_default();
        (ahead + 1).saturating_sub(self.open)
    }
}

impl Queue {
    /// A queue of which `open` may pull at once.
    pub(super) fn new(open: usize) -> Self {
        Self(watch::channel(Line { tickets: VecDeque::new(), next: 0, open }).0)
    }

    /// From now on so many may pull at once. Those who pull go on.
    pub(super) fn set_open(&self, open: usize) {
        self.0.send_modify(|line| line.open = open);
    }

    /// Goes to the queue's end.
    pub(super) fn enter(&self) -> Ticket {
        let mut number = 0;
        self.0.send_modify(|line| {
            number = line.next;
            line.next += 1;
            line.tickets.push_back(number);
        });
        Ticket { number, queue: self.clone() }
    }
}

impl Ticket {
    /// Waits until it may pull. `tell` hears its place, from 1 on, each time that it is another.
    pub(super) async fn turn(&self, tell: impl Fn(usize)) {
        let mut line = self.queue.0.subscribe();
        let mut told = 0;
        loop {
            let place = line.borrow_and_update().place(self.number);
            if place == 0 {
                return;
            }
            if place != told {
                told = place;
                tell(place);
            }
            if line.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.0.send_modify(|line| line.tickets.retain(|ticket| *ticket != self.number));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::{FutureExt, poll};

    use super::*;

    #[tokio::test]
    async fn those_behind_move_up_when_one_leaves_and_whoever_gives_up_leaves() {
        let queue = Queue::new(2);
        let [first, second, third, fourth, fifth] = [(); 5].map(|()| queue.enter());
        let told = RefCell::new(Vec::new());
        let mut waiting = Box::pin(fifth.turn(|place| told.borrow_mut().push(place)));

        assert!(first.turn(|_| {}).now_or_never().is_some() && second.turn(|_| {}).now_or_never().is_some());
        assert!(third.turn(|_| {}).now_or_never().is_none());
        assert!(poll!(&mut waiting).is_pending());
        drop(fourth);
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        assert!(third.turn(|_| {}).now_or_never().is_some());
        assert!(poll!(&mut waiting).is_pending());
        drop(second);

        assert!(poll!(&mut waiting).is_ready());
        assert_eq!(*told.borrow(), [3, 2, 1]);
    }

    #[tokio::test]
    async fn more_may_pull_as_soon_as_the_operator_says_so_and_fewer_stop_nobody() {
        let queue = Queue::new(1);
        let [first, second, third] = [(); 3].map(|()| queue.enter());
        let mut waiting = Box::pin(second.turn(|_| {}));
        assert!(poll!(&mut waiting).is_pending());

        queue.set_open(2);
        assert!(poll!(&mut waiting).is_ready());
        queue.set_open(1);
        drop(first);

        assert!(third.turn(|_| {}).now_or_never().is_none(), "one pulls already");
    }
}
