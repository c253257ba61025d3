//! Scripted responses that replace the usual ones. `E` is the engine, which is layered above this file: a script's actions
//! receive it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use crate::pattern::Pattern;

/// A scripted response.
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
    ErrorAfter { status: u16, message: String },
    Json { status: u16, body: Value },
    Hang,
    HangAfter,
    Mute,
    Trickle(Duration),
    Drop,
    DropAfter,
    Cut,
    Garble,
    Stop,
    StopAfter,
}

/// An action of a test at a request.
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

    /// The model's response.
    pub fn usual() -> Self {
        Self::new(Kind::Usual)
    }

    /// An error in the engine's format. The call has no effect.
    pub fn error(status: u16, message: &str) -> Self {
        Self::new(Kind::Error { status, message: message.to_owned() })
    }

    /// An error in the engine's format, after the call took effect.
    pub fn error_after(status: u16, message: &str) -> Self {
        Self::new(Kind::ErrorAfter { status, message: message.to_owned() })
    }

    /// JSON. The call has no effect.
    pub fn json(status: u16, body: Value) -> Self {
        Self::new(Kind::Json { status, body })
    }

    /// No response, on an open connection. The call has no effect.
    pub fn hang() -> Self {
        Self::new(Kind::Hang)
    }

    /// No response, on an open connection, after the call took effect.
    pub fn hang_after() -> Self {
        Self::new(Kind::HangAfter)
    }

    /// The call takes effect, and its response is a head without a body, on an open connection.
    pub fn mute() -> Self {
        Self::new(Kind::Mute)
    }

    /// The call takes effect, and the response body comes byte by byte.
    pub fn trickle(pause: Duration) -> Self {
        Self::new(Kind::Trickle(pause))
    }

    /// The connection is closed without a response. The call has no effect.
    pub fn drop_connection() -> Self {
        Self::new(Kind::Drop)
    }

    /// The connection is closed without a response, after the call took effect.
    pub fn lose_answer() -> Self {
        Self::new(Kind::DropAfter)
    }

    /// The call takes effect, and the connection is closed in the middle of the response body.
    pub fn cut_body() -> Self {
        Self::new(Kind::Cut)
    }

    /// The call takes effect, and the response body is not the JSON that it should be.
    pub fn garble() -> Self {
        Self::new(Kind::Garble)
    }

    /// The engine stops at this request. The call has no effect.
    pub fn stop_engine() -> Self {
        Self::new(Kind::Stop)
    }

    /// The call takes effect, and the engine stops without a response.
    pub fn stop_engine_after() -> Self {
        Self::new(Kind::StopAfter)
    }

    /// The same response, delayed.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        Self { delay: by, ..self }
    }

    /// The same response, once the gate is opened. The holder of the gate decides when.
    pub fn held(self) -> (Self, Gate) {
        let (gate, opened) = watch::channel(false);
        (Self { gate: Some(opened), ..self }, Gate(gate))
    }

    /// Runs an action before the call takes effect.
    #[must_use]
    pub fn before(self, act: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Self { before: Some(Act(Arc::new(act))), ..self }
    }

    /// Runs an action after the call took effect, before the response.
    #[must_use]
    pub fn after(self, act: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Self { after: Some(Act(Arc::new(act))), ..self }
    }
}

/// Holds responses back until it is opened or dropped.
#[derive(Debug)]
#[must_use = "dropping it opens it"]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Releases the responses.
    pub fn open(self) {
        self.0.send_replace(true);
    }
}

/// Adds scripts for a pattern. Scripts for a number of requests apply first, in order; then the newest of those for all
/// requests.
#[must_use]
pub struct On<'a, E> {
    pub(crate) scripts: &'a Scripts<E>,
    pub(crate) pattern: Pattern,
}

impl<E: Clone> On<'_, E> {
    /// Scripts the next matching request.
    pub fn once(self, reply: Reply<E>) {
        self.times(1, reply);
    }

    /// Scripts the next `times` matching requests.
    pub fn times(self, times: usize, reply: Reply<E>) {
        self.scripts.add(Script { pattern: self.pattern, left: Some(times), reply });
    }

    /// Scripts all matching requests from now on.
    pub fn always(self, reply: Reply<E>) {
        self.scripts.add(Script { pattern: self.pattern, left: None, reply });
    }

    /// Answers matching requests as usual again.
    pub fn usual(self) {
        self.always(Reply::usual());
    }
}

#[derive(Debug)]
struct Script<E> {
    pattern: Pattern,
    /// How often; `None` is unlimited.
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
