//! What the engine is to answer instead of the usual. `E` is the engine, which stands above this file: acts of a script are
//! given it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use crate::pattern::Pattern;

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply<E> {
    pub(crate) delay: Duration,
    pub(crate) gate: Option<watch::Receiver<bool>>,
    pub(crate) before: Option<Act<E>>,
    pub(crate) kind: Kind,
    pub(crate) after: Option<Act<E>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Usual,
    Error { status: u16, message: String },
    Json { status: u16, body: Value },
    Hang,
    Drop,
    DropAfter,
    Cut,
    Stop,
    StopAfter,
}

/// What a test does at a request.
pub(crate) struct Act<E>(Arc<dyn Fn(&E) + Send + Sync>);

impl<E> Clone for Act<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Act<E> {
    pub(crate) fn run(&self, engine: &E) {
        (self.0)(engine);
    }
}

impl<E> fmt::Debug for Act<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Act(..)")
    }
}

impl<E> Reply<E> {
    fn new(kind: Kind) -> Self {
        Self { delay: Duration::ZERO, gate: None, before: None, kind, after: None }
    }

    /// What the model says.
    pub fn usual() -> Self {
        Self::new(Kind::Usual)
    }

    /// An error in the engine's form. Nothing is done.
    pub fn error(status: u16, message: &str) -> Self {
        Self::new(Kind::Error { status, message: message.to_owned() })
    }

    /// JSON. Nothing is done.
    pub fn json(status: u16, body: Value) -> Self {
        Self::new(Kind::Json { status, body })
    }

    /// No answer, and the connection is not closed. Nothing is done.
    pub fn hang() -> Self {
        Self::new(Kind::Hang)
    }

    /// The connection is closed without an answer. Nothing is done.
    pub fn drop_connection() -> Self {
        Self::new(Kind::Drop)
    }

    /// The connection is closed without an answer, after the call was done.
    pub fn lose_answer() -> Self {
        Self::new(Kind::DropAfter)
    }

    /// The call is done, and the connection is closed in the middle of the answer's body.
    pub fn cut_body() -> Self {
        Self::new(Kind::Cut)
    }

    /// The engine stops at this request. Nothing is done.
    pub fn stop_engine() -> Self {
        Self::new(Kind::Stop)
    }

    /// The call is done, and the engine stops without an answer.
    pub fn stop_engine_after() -> Self {
        Self::new(Kind::StopAfter)
    }

    /// The same answer, later.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        Self { delay: by, ..self }
    }

    /// The same answer, when a gate is opened. What holds the gate decides.
    pub fn held(self) -> (Self, Gate) {
        let (gate, opened) = watch::channel(false);
        (Self { gate: Some(opened), ..self }, Gate(gate))
    }

    /// Does something before the call is done.
    #[must_use]
    pub fn before(self, act: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Self { before: Some(Act(Arc::new(act))), ..self }
    }

    /// Does something after the call was done, and before it is answered.
    #[must_use]
    pub fn after(self, act: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Self { after: Some(Act(Arc::new(act))), ..self }
    }
}

/// Holds answers back until it is opened or dropped.
#[derive(Debug)]
#[must_use = "dropping it opens it"]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Lets the answers go.
    pub fn open(self) {
        self.0.send_replace(true);
    }
}

/// Where a script for a pattern is added. Those for a number of requests come first, in their order; then the newest of
/// those for all requests.
#[must_use]
pub struct On<'a, E> {
    pub(crate) scripts: &'a Scripts<E>,
    pub(crate) pattern: Pattern,
}

impl<E: Clone> On<'_, E> {
    /// The next such request is answered so.
    pub fn once(self, reply: Reply<E>) {
        self.times(1, reply);
    }

    /// The next few such requests are answered so.
    pub fn times(self, times: usize, reply: Reply<E>) {
        self.scripts.add(Script { pattern: self.pattern, left: Some(times), reply });
    }

    /// All such requests are answered so from now on.
    pub fn always(self, reply: Reply<E>) {
        self.scripts.add(Script { pattern: self.pattern, left: None, reply });
    }

    /// Such requests are answered as usual again.
    pub fn usual(self) {
        self.always(Reply::usual());
    }
}

#[derive(Debug)]
struct Script<E> {
    pattern: Pattern,
    /// How often; `None` is without an end.
    left: Option<usize>,
    reply: Reply<E>,
}

/// All scripts.
#[derive(Debug)]
pub(crate) struct Scripts<E>(Mutex<Vec<Script<E>>>);

impl<E> Default for Scripts<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Clone> Scripts<E> {
    fn lock(&self) -> MutexGuard<'_, Vec<Script<E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, script: Script<E>) {
        self.lock().push(script);
    }

    /// The reply to a request.
    pub(crate) fn next(&self, method: &str, path: &str) -> Reply<E> {
        let mut scripts = self.lock();
        scripts.retain(|script| script.left != Some(0));
        let is_about = |script: &Script<E>| script.pattern.matches(method, path);
        let counted = scripts.iter().position(|script| script.left.is_some() && is_about(script));
        let found = counted.or_else(|| scripts.iter().rposition(is_about));
        found.map(|at| &mut scripts[at]).map_or_else(Reply::usual, |script| {
            script.left = script.left.map(|left| left - 1);
            script.reply.clone()
        })
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}
