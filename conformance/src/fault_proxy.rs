//! A proxy in front of a Docker Engine that makes one fault at one call, and notes all calls.
//!
//! It listens on a Unix socket, takes requests apart, and asks the engine for each over a connection of its own. Streams and
//! upgraded connections pass through as they come.

mod call;
mod carry;
mod fault;
mod serve;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

pub use call::Call;
pub use fault::Fault;
use hyper::Method;
use serde_json::Value;
use tokio::{
    net::UnixListener,
    task::{AbortHandle, JoinSet},
};

/// Which call gets which fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plan {
    /// The phase in which it comes, by [`FaultProxy::enter`].
    pub phase: &'static str,
    /// The call.
    pub call: Call,
    /// The how-manieth of its kind in the phase, from 1.
    pub occurrence: usize,
    /// What becomes of it.
    pub fault: Fault,
}

/// How the engine answers a call, as far as it decides which faults there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A head alone.
    Empty,
    /// A head and a body that ends.
    Body,
    /// A head, and a body or a connection that ends when one of both wants it.
    Stream,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The phase in which it came.
    pub phase: &'static str,
    /// What was asked.
    pub call: Call,
    /// The how-manieth of its kind in the phase, from 1.
    pub occurrence: usize,
    /// How it was answered by the engine, if it was.
    pub answer: Option<Answer>,
    /// Whether the fault was made at it.
    pub faulty: bool,
}

/// A container that was created through the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The container's id.
    pub id: String,
    /// The volumes that were made with it.
    pub volumes: Vec<String>,
}

/// The proxy. Connections end with it.
pub struct FaultProxy {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    engine: PathBuf,
    faults: Mutex<Faults>,
    journal: Mutex<Journal>,
    tasks: Mutex<JoinSet<()>>,
}

/// Which calls get a fault.
enum Faults {
    Planned(Option<Plan>),
    /// So many of a hundred.
    Random {
        percent: u64,
        rng: fastrand::Rng,
    },
}

#[derive(Default)]
struct Journal {
    phase: &'static str,
    noted: Vec<Noted>,
    counts: BTreeMap<(&'static str, Call), usize>,
    made: Vec<Made>,
}

impl FaultProxy {
    /// Listens in a directory of its own, in front of an engine's socket. Must be called within a runtime.
    pub fn before(engine: &Path, plan: Option<Plan>) -> Self {
        Self::with(engine, Faults::Planned(plan))
    }

    /// The same, with any fault at any call, as a seed decides. Until [`set_percent`](Self::set_percent) there is none.
    pub fn at_random(engine: &Path, seed: u64) -> Self {
        Self::with(engine, Faults::Random { percent: 0, rng: fastrand::Rng::with_seed(seed) })
    }

    /// How many of a hundred calls get a fault from now on.
    pub fn set_percent(&self, share: u64) {
        if let Faults::Random { percent, .. } = &mut *self.shared.faults.lock().unwrap() {
            *percent = share;
        }
    }

    fn with(engine: &Path, faults: Faults) -> Self {
        let directory = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap();
        let listener = UnixListener::bind(socket(directory.path())).unwrap();
        let (journal, tasks) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { engine: engine.to_owned(), faults: Mutex::new(faults), journal, tasks });
        let serving = shared.clone();
        let accepting = shared.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                serving.spawn(serve::connection(serving.clone(), client)).detach();
            }
        });
        accepting.detach();
        Self { directory, shared }
    }

    /// Where it listens, for `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", socket(self.directory.path()).display())
    }

    /// Calls from now on belong to a phase.
    pub fn enter(&self, phase: &'static str) {
        self.shared.journal().phase = phase;
    }

    /// All calls so far.
    pub fn journal(&self) -> Vec<Noted> {
        self.shared.journal().noted.clone()
    }

    /// Whether the call came that gets the fault.
    pub fn has_made_its_fault(&self) -> bool {
        self.shared.journal().noted.iter().any(|noted| noted.faulty)
    }

    /// The containers that were created so far.
    pub fn made(&self) -> Vec<Made> {
        self.shared.journal().made.clone()
    }

    /// Asks the engine itself: no fault, no note. The status and the body; the body is null where it is no JSON.
    ///
    /// # Errors
    ///
    /// Where the engine does not answer.
    pub async fn ask(&self, method: Method, path: &str) -> std::io::Result<(u16, Value)> {
        self.shared.ask(method, path).await
    }

    /// The bytes with which the engine itself answers a GET request.
    ///
    /// # Errors
    ///
    /// Where the engine does not answer.
    pub async fn bytes(&self, path: &str) -> std::io::Result<Vec<u8>> {
        Ok(self.shared.answer(Method::GET, path).await?.1.to_vec())
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The tasks themselves hold what is shared.
        self.shared.tasks().abort_all();
    }
}

impl Shared {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap()
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap()
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Guard {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        Guard(Some(tasks.spawn(work)))
    }

    /// Notes a call; its place in the journal, and its fault.
    fn note(&self, call: Call) -> (usize, Option<Fault>) {
        let mut journal = self.journal();
        let phase = journal.phase;
        let count = journal.counts.entry((phase, call.clone())).or_default();
        *count += 1;
        let occurrence = *count;
        let is_meant = |plan: &&Plan| (plan.phase, &plan.call, plan.occurrence) == (phase, &call, occurrence);
        let fault = match &mut *self.faults.lock().unwrap() {
            Faults::Planned(plan) => plan.as_ref().filter(is_meant).map(|plan| plan.fault),
            Faults::Random { percent, rng } => (rng.u64(0..100) < *percent).then(|| rng.choice(Fault::ALL)).flatten(),
        };
        journal.noted.push(Noted { phase, call, occurrence, answer: None, faulty: fault.is_some() });
        (journal.noted.len() - 1, fault)
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("proxy.sock")
}

/// Work that ends with this.
struct Guard(Option<AbortHandle>);

impl Guard {
    /// Lets the work go on without this.
    fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work.abort();
        }
    }
}
