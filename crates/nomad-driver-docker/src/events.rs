//! Events for tasks' owners, emitted to every host that listens.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use nomad_plugin::{
    driver::{TaskConfig, TaskEvent},
    id::{AllocId, TaskId},
};
use tokio::{
    sync::{Notify, broadcast},
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::BroadcastStream;

/// How many events a slow listener may lag before it loses the oldest.
const BACKLOG: usize = 1024;

/// The minimum interval between repetitions of an event.
const MINUTE: Duration = Duration::from_secs(60);

/// How much of an event's text identifies it.
const KIND: usize = 256;

/// Emits events, and serves subscriptions to them.
///
/// Agents show the last ten events of a task. So a repeated event is sent at once the first time, and then at most once a
/// minute, with the number of those that were left out. Two events are the same if they differ only in numbers.
#[derive(Clone, Debug)]
pub struct TaskEvents {
    sender: broadcast::Sender<TaskEvent>,
    sent: Arc<Sent>,
}

/// What was sent within the last minute.
#[derive(Debug, Default)]
struct Sent {
    kinds: Mutex<HashMap<EventKind, Repeated>>,
    /// An event was left out.
    left_out: Notify,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EventKind {
    task: TaskId,
    text: String,
}

#[derive(Debug)]
struct Repeated {
    since: Instant,
    /// The last event that was left out, and their number.
    last: Option<(TaskEvent, u64)>,
}

/// The subject of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSubject {
    /// The task's run.
    pub task_id: TaskId,
    /// Its allocation.
    pub alloc_id: AllocId,
    /// Its name.
    pub task_name: String,
}

impl From<&TaskConfig> for EventSubject {
    fn from(task: &TaskConfig) -> Self {
        Self { task_id: task.id.clone(), alloc_id: task.alloc_id.clone(), task_name: task.name.clone() }
    }
}

impl Default for TaskEvents {
    fn default() -> Self {
        Self { sender: broadcast::channel(BACKLOG).0, sent: Arc::default() }
    }
}

impl TaskEvents {
    /// Emits an event. Without listeners it is lost, as Nomad expects.
    pub fn emit(&self, subject: &EventSubject, message: impl Into<String>, annotations: BTreeMap<String, String>) {
        let EventSubject { task_id, alloc_id, task_name } = subject.clone();
        let event =
            TaskEvent { task_id, alloc_id, task_name, at: SystemTime::now(), message: message.into(), annotations };
        if let Some(event) = self.sent.first_of_its_kind(event, Instant::now()) {
            let _nobody_listens = self.sender.send(event);
        }
    }

    /// Events from now on.
    pub fn subscribe(&self) -> impl Stream<Item = TaskEvent> + Send + 'static + use<> {
        let events = BroadcastStream::new(self.sender.subscribe()).filter_map(|event| ready(event.ok()));
        // At the end of the minute, the first listener sends to all what was left out.
        let listener = self.clone();
        stream::select(events, listener.send_what_was_left_out().into_stream().map(|never| match never {}))
    }

    async fn send_what_was_left_out(self) -> Infallible {
        loop {
            let left_out = self.sent.left_out.notified();
            match self.sent.next_due() {
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = left_out => {}
                },
                None => left_out.await,
            }
            for event in self.sent.due(Instant::now()) {
                let _nobody_listens = self.sender.send(event);
            }
        }
    }
}

impl Sent {
    fn lock(&self) -> MutexGuard<'_, HashMap<EventKind, Repeated>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event, if it is to be sent at once.
    fn first_of_its_kind(&self, event: TaskEvent, now: Instant) -> Option<TaskEvent> {
        let mut kinds = self.lock();
        kinds.retain(|_, repeated| repeated.last.is_some() || now - repeated.since < MINUTE);
        match kinds.entry(EventKind::of(&event)) {
            Entry::Vacant(entry) => {
                entry.insert(Repeated { since: now, last: None });
                Some(event)
            }
            Entry::Occupied(mut entry) => {
                let repeated = entry.get_mut();
                let count = repeated.last.take().map_or(1, |(_, count)| count + 1);
                if now - repeated.since < MINUTE {
                    repeated.last = Some((event, count));
                    self.left_out.notify_waiters();
                    return None;
                }
                // Nobody was listening at the end of the minute.
                repeated.since = now;
                Some(with_count(event, count))
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let kinds = self.lock();
        kinds.values().filter(|repeated| repeated.last.is_some()).map(|repeated| repeated.since + MINUTE).min()
    }

    /// What was left out and is now due.
    fn due(&self, now: Instant) -> Vec<TaskEvent> {
        let mut kinds = self.lock();
        let due = kinds.values_mut().filter(|repeated| now - repeated.since >= MINUTE).filter_map(|repeated| {
            let (event, count) = repeated.last.take()?;
            repeated.since = now;
            Some(with_count(event, count))
        });
        due.collect()
    }
}

/// An event that stands for `count`.
fn with_count(event: TaskEvent, count: u64) -> TaskEvent {
    if count < 2 {
        return event;
    }
    let message = format!("{} (and {} more in the last minute)", event.message, count - 1);
    TaskEvent { message, ..event }
}

impl EventKind {
    fn of(event: &TaskEvent) -> Self {
        let annotations = event.annotations.iter().flat_map(|(name, value)| [name.as_str(), value]);
        let texts = annotations.chain([event.message.as_str()]).flat_map(|text| text.chars().chain(['\n']));
        let text = texts.filter(|letter| !letter.is_ascii_digit()).take(KIND).collect();
        Self { task: event.task_id.clone(), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(task: &str) -> EventSubject {
        EventSubject { task_id: task.into(), ..EventSubject::default() }
    }

    async fn next(events: &mut (impl Stream<Item = TaskEvent> + Unpin)) -> String {
        events.next().await.unwrap().message
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_event_is_sent_once_a_minute_with_the_number_of_those_left_out() {
        let events = TaskEvents::default();
        let mut received = Box::pin(events.subscribe());
        let mut received_as_well = Box::pin(events.subscribe());
        let began = Instant::now();
        let emit = |task: &str, message: String| events.emit(&subject(task), message, BTreeMap::new());

        for number in 1..=39 {
            emit("a", format!("{number} lines lost"));
        }
        emit("a", "another".to_owned());
        emit("b", "1 lines lost".to_owned());

        for expected in ["1 lines lost", "another", "1 lines lost"] {
            assert_eq!((next(&mut received).await.as_str(), began.elapsed()), (expected, Duration::ZERO));
            next(&mut received_as_well).await;
        }
        assert_eq!(next(&mut received).await, "39 lines lost (and 37 more in the last minute)");
        assert_eq!(began.elapsed(), MINUTE);
        assert_eq!(next(&mut received_as_well).await, "39 lines lost (and 37 more in the last minute)");
        emit("a", "40 lines lost".to_owned());
        assert_eq!(next(&mut received).await, "40 lines lost");
        assert_eq!(began.elapsed(), 2 * MINUTE);
        tokio::time::advance(MINUTE).await;
        emit("a", "41 lines lost".to_owned());
        assert_eq!(next(&mut received).await, "41 lines lost");
        assert_eq!(began.elapsed(), 3 * MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_was_notified_of_is_counted_by_the_next_one_and_nothing_is_kept_for_ever() {
        let events = TaskEvents::default();
        let image = |image: &str| BTreeMap::from([("image".to_owned(), image.to_owned())]);
        for _ in 0..3 {
            events.emit(&subject("a"), "pulls", image("x"));
        }
        tokio::time::advance(MINUTE).await;
        let mut received = Box::pin(events.subscribe());

        events.emit(&subject("a"), "pulls", image("x"));
        events.emit(&subject("a"), "pulls", image("y"));

        assert_eq!(next(&mut received).await, "pulls (and 2 more in the last minute)");
        assert_eq!(next(&mut received).await, "pulls", "of another image");
        tokio::time::advance(MINUTE).await;
        events.emit(&subject("a"), "other", BTreeMap::new());
        assert_eq!(events.sent.lock().len(), 1);
    }
}
