//! The queue of pulls: a limited number run at once, the others wait. The next one is the waiter whose job has the fewest
//! running pulls, and among equals the oldest.
//!
//! A job that occupies every slot could block the others for as long as its registry takes. So there is one more slot, for a
//! job other than the one that has all of them.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::watch;

/// A queue. Clones are the same queue.
#[derive(Clone, Debug)]
pub(super) struct Queue(watch::Sender<Line>);

#[derive(Debug, Default)]
struct Line {
    /// Running and waiting pulls, in order of arrival.
    tickets: BTreeMap<u64, Waiting>,
    next: u64,
    /// How many may run at once.
    open: usize,
    /// How many must begin before each waiter, including itself.
    places: HashMap<u64, usize>,
}

#[derive(Debug)]
struct Waiting {
    /// The jobs that it is for; the first one started it.
    jobs: Vec<String>,
    pulls: bool,
}

/// A place in the queue, released on drop.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    queue: Queue,
}

impl Line {
    /// Starts those that may run, and computes the places of the others.
    fn advance(&mut self) {
        loop {
            let order = self.order();
            let next = order.iter().copied().find(|number| self.may_begin(*number));
            if let Some(ticket) = next.and_then(|number| self.tickets.get_mut(&number)) {
                ticket.pulls = true;
                continue;
            }
            self.places = order.into_iter().zip(1..).collect();
            return;
        }
    }

    fn pulling(&self) -> impl Iterator<Item = &Waiting> {
        self.tickets.values().filter(|ticket| ticket.pulls)
    }

    fn may_begin(&self, number: u64) -> bool {
        let pulling = self.pulling().count();
        let of_one = |job: &String| self.pulling().all(|ticket| ticket.jobs.first() == Some(job));
        let is_for_another = |holder: &String| self.tickets[&number].jobs.iter().any(|job| job != holder);
        let holder = self.pulling().find_map(|ticket| ticket.jobs.first());
        pulling < self.open
            || (pulling == self.open && holder.is_some_and(|holder| of_one(holder) && is_for_another(holder)))
    }

    /// The waiters, the next one first.
    fn order(&self) -> Vec<u64> {
        let mut ahead: HashMap<&str, usize> = HashMap::new();
        for job in self.pulling().filter_map(|ticket| ticket.jobs.first()) {
            *ahead.entry(job).or_default() += 1;
        }
        let mut order = Vec::new();
        for (number, ticket) in self.tickets.iter().filter(|(_, ticket)| !ticket.pulls) {
            let mut least = usize::MAX;
            for job in &ticket.jobs {
                let before = ahead.entry(job).or_default();
                least = least.min(*before);
                *before += 1;
            }
            order.push((least, *number));
        }
        order.sort_unstable();
        order.into_iter().map(|(_, number)| number).collect()
    }

    /// 0 means that it may pull.
    fn place(&self, number: u64) -> usize {
        self.places.get(&number).copied().unwrap_or_default()
    }
}

impl Queue {
    /// A queue in which `open` pulls may run at once.
    pub(super) fn new(open: usize) -> Self {
        Self(watch::channel(Line { open, ..Line::default() }).0)
    }

    fn change(&self, change: impl FnOnce(&mut Line)) {
        self.0.send_modify(|line| {
            change(line);
            line.advance();
        });
    }

    /// Changes how many may pull at once. Running pulls continue.
    pub(super) fn set_open(&self, open: usize) {
        self.change(|line| line.open = open);
    }

    /// Adds a job's pull at the end of the queue.
    pub(super) fn enter(&self, job: &str) -> Ticket {
        let mut number = 0;
        self.change(|line| {
            number = line.next;
            line.next += 1;
            line.tickets.insert(number, Waiting { jobs: vec![job.to_owned()], pulls: false });
        });
        Ticket { number, queue: self.clone() }
    }

    /// Adds another job to a ticket. Its turn is that of the job with the fewest running pulls.
    pub(super) fn join(&self, number: u64, job: &str) {
        self.change(|line| {
            let ticket = line.tickets.get_mut(&number).filter(|ticket| !ticket.jobs.iter().any(|other| other == job));
            if let Some(ticket) = ticket {
                ticket.jobs.push(job.to_owned());
            }
        });
    }
}

impl Ticket {
    /// Waits until it may pull. `report` receives its place, from 1 on, each time it changes.
    pub(super) async fn turn(&self, report: impl Fn(usize)) {
        let mut line = self.queue.0.subscribe();
        let mut reported = 0;
        loop {
            let place = line.borrow_and_update().place(self.number);
            if place == 0 {
                return;
            }
            if place != reported {
                reported = place;
                report(place);
            }
            if line.changed().await.is_err() {
                return;
            }
        }
    }

    /// Its number.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.change(|line| drop(line.tickets.remove(&self.number)));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::{FutureExt, poll};

    use super::*;

    #[tokio::test]
    async fn those_behind_move_up_when_one_leaves_and_one_that_gives_up_leaves() {
        let queue = Queue::new(2);
        let [first, second, third, fourth, fifth] = [(); 5].map(|()| queue.enter("job"));
        let reported = RefCell::new(Vec::new());
        let mut waiting = Box::pin(fifth.turn(|place| reported.borrow_mut().push(place)));

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
        assert_eq!(*reported.borrow(), [3, 2, 1]);
    }

    #[tokio::test]
    async fn more_may_pull_as_soon_as_the_operator_says_so_and_fewer_stop_nobody() {
        let queue = Queue::new(1);
        let [first, second, third] = [(); 3].map(|()| queue.enter("job"));
        let mut waiting = Box::pin(second.turn(|_| {}));
        assert!(poll!(&mut waiting).is_pending());

        queue.set_open(2);
        assert!(poll!(&mut waiting).is_ready());
        queue.set_open(1);
        drop(first);

        assert!(third.turn(|_| {}).now_or_never().is_none(), "one pulls already");
    }

    #[tokio::test]
    async fn a_job_that_has_every_place_lets_every_other_job_pull_and_the_one_that_pulls_least_is_next() {
        let queue = Queue::new(2);
        let begins = |ticket: &Ticket| ticket.turn(|_| {}).now_or_never().is_some();
        let greedy = [(); 5].map(|()| queue.enter("greedy"));
        let modest = [(); 2].map(|()| queue.enter("modest"));
        let other = queue.enter("other");

        assert_eq!(greedy.each_ref().map(begins), [true, true, false, false, false]);
        assert_eq!(modest.each_ref().map(begins), [true, false], "one place more, and no two");
        assert!(!begins(&other));
        drop(modest);
        assert!(begins(&other));
        let [first, second, third, ..] = greedy;
        drop((first, second));
        let late = queue.enter("late");
        assert!(begins(&third) && !begins(&late));
        drop(other);
        assert!(begins(&late), "before those of the job that pulls");
    }

    #[tokio::test]
    async fn a_job_that_joins_another_jobs_pull_adds_its_own_turn() {
        let queue = Queue::new(1);
        let begins = |ticket: &Ticket| ticket.turn(|_| {}).now_or_never().is_some();
        let [pulling, waiting, shared] = [(); 3].map(|()| queue.enter("greedy"));

        assert!(begins(&pulling) && !begins(&waiting) && !begins(&shared));
        queue.join(shared.number(), "modest");

        assert!(begins(&shared) && !begins(&waiting));
    }
}
