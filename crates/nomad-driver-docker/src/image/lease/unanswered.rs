//! Attempts to get an image whose end nobody knows: the engine may have finished them, or may still do so.
//!
//! ```text
//! begun -> answered
//!   \-> unanswered -> (the image has the name) -> pulled
//!            \-> (ten minutes) -> forgotten
//! ```
//!
//! `<state dir>/images/<engine's name>.begun` stores them for the next process, in JSON. If it is lost or unreadable, no harm is
//! done: then what a killed process was pulling is kept.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use atomic_file::Durability;
use background::Backoff;
use engine::Engine;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{Book, Leases};
use crate::{
    image::inventory::{Inventory, ListedNames},
    reference::ImageReference,
};

/// How long an engine may take to finish what nobody waits for. What somebody else pulls by the same name meanwhile would be
/// taken for the driver's own.
const WINDOW: Duration = Duration::from_secs(600);

/// The pauses between the looks.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The maximum size of the file: the names of some ten thousand images, for each of several attempts.
const LARGEST: u64 = 16 << 20;

/// Attempts that have begun and are not answered, by number.
#[derive(Default)]
pub(super) struct Attempts {
    begun: BTreeMap<u64, Attempt>,
    next: u64,
}

/// An attempt to pull or load an image.
struct Attempt {
    name: ImageReference,
    /// What the engine had before.
    before: Arc<Inventory>,
    /// When to look what came of it; `None` as long as somebody waits for it.
    looks: Option<Looks>,
}

struct Looks {
    next: Instant,
    until: Instant,
    pauses: Backoff,
}

impl Looks {
    fn begin() -> Self {
        let now = Instant::now();
        Self { next: now, until: now + WINDOW, pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE) }
    }
}

/// An attempt on disk.
#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    before: BTreeMap<String, ListedNames>,
}

impl Attempts {
    fn add(&mut self, attempt: Attempt) -> u64 {
        self.next += 1;
        self.begun.insert(self.next, attempt);
        self.next
    }

    /// Adds the attempts that an earlier process recorded beside a ledger.
    pub(super) fn adopt(&mut self, ledger: &Path) {
        for Record { name, before } in read(&beside(ledger)) {
            if let Some(name) = ImageReference::parse(&name) {
                let before = Arc::new(Inventory::of(before));
                self.add(Attempt { name, before, looks: Some(Looks::begin()) });
            }
        }
    }

    /// Replaces the record beside a ledger.
    pub(super) fn persist(&self, ledger: &Path) {
        let path = beside(ledger);
        if self.begun.is_empty() && !path.exists() {
            return;
        }
        let records: Vec<_> = self.begun.values().map(Attempt::record).collect();
        let content = serde_json::to_vec(&records).map_err(io::Error::from);
        if let Err(error) = content.and_then(|content| atomic_file::replace(&path, &content, Durability::Process)) {
            tracing::warn!(file = %path.display(), %error, "failed to record which images are being pulled; what a killed process was pulling is kept");
        }
    }
}

impl Attempt {
    fn record(&self) -> Record {
        Record { name: self.name.written().to_owned(), before: self.before.listed() }
    }
}

fn beside(ledger: &Path) -> PathBuf {
    ledger.with_extension("begun")
}

fn read(path: &Path) -> Vec<Record> {
    let read = atomic_file::read(path, LARGEST).and_then(|content| Ok(serde_json::from_slice(&content)?));
    read.unwrap_or_else(|error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(file = %path.display(), %error, "failed to read which images were being pulled; they are kept");
        }
        Vec::new()
    })
}

impl Leases {
    /// Records that an image is about to be pulled or loaded under a name; returns the attempt's number. `before` is what the
    /// engine has now.
    pub(in crate::image) fn begin_attempt(&self, name: &ImageReference, before: &Arc<Inventory>) -> u64 {
        let mut book = self.book();
        let number = book.attempts.add(Attempt { name: name.clone(), before: before.clone(), looks: None });
        book.persist_attempts();
        number
    }

    /// Records that the end of an attempt is known.
    pub(in crate::image) fn end_attempt(&self, number: u64) {
        let mut book = self.book();
        book.attempts.begun.remove(&number);
        book.persist_attempts();
    }

    /// Records that nobody waits for the end of an attempt any more.
    pub(in crate::image) fn leave_attempt(&self, number: u64) {
        if let Some(attempt) = self.book().attempts.begun.get_mut(&number) {
            attempt.looks = Some(Looks::begin());
        }
        self.0.unanswered.notify_one();
    }

    /// Looks what came of attempts that nobody waits for, forever: the images are this driver's like others that it pulled.
    pub(super) async fn find_unanswered(&self, engine: &Engine) {
        loop {
            let (due, next) = self.book().attempts.due(Instant::now());
            for (number, name, before) in due {
                match engine.inspect_image(name.written()).await {
                    Ok(found) if !before.had(&found.id, &name) => {
                        tracing::info!(
                            image = found.id,
                            name = name.written(),
                            "found an image of a pull without an answer"
                        );
                        self.pulled_by_us(&found.id, &name, &before);
                        self.end_attempt(number);
                    }
                    _ => self.look_later(number),
                }
            }
            let unanswered = self.0.unanswered.notified();
            match next {
                Some(next) => drop(timeout_at(next, unanswered).await),
                None => unanswered.await,
            }
        }
    }

    fn look_later(&self, number: u64) {
        let now = Instant::now();
        let mut book = self.book();
        let looks = book.attempts.begun.get_mut(&number).and_then(|attempt| attempt.looks.as_mut());
        let Some(looks) = looks else { return };
        if now < looks.until {
            looks.next = now + looks.pauses.pause();
        } else {
            book.attempts.begun.remove(&number);
            book.persist_attempts();
        }
    }
}

/// An attempt to look at: its number, the image's name, and what the engine had before.
type Due = (u64, ImageReference, Arc<Inventory>);

impl Attempts {
    /// The attempts to look at now, and when the next look is due unless these have changed by then.
    fn due(&self, now: Instant) -> (Vec<Due>, Option<Instant>) {
        let looks =
            || self.begun.iter().filter_map(|(number, attempt)| Some((number, attempt, attempt.looks.as_ref()?)));
        let due = looks().filter(|(_, _, looks)| looks.next <= now);
        let due = due.map(|(number, attempt, _)| (*number, attempt.name.clone(), attempt.before.clone()));
        (due.collect(), looks().map(|(_, _, looks)| looks.next).min())
    }
}

impl Book {
    pub(super) fn persist_attempts(&self) {
        if let Some(ledger) = &self.ledger {
            self.attempts.persist(ledger.path());
        }
    }
}
