//! Lives of tasks as an agent leads them, chosen at random.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use conformance::{Fixture, Task, text};
use futures_util::{StreamExt, future::join_all};
use nomad_plugin::{
    client::ClientError,
    driver::{Force, Recoverability},
    id::TaskId,
};
use tokio::time::{Instant, timeout};

/// How often an agent tries a start again, and a stop.
const STARTS: u32 = 3;
const STOPS: u32 = 5;

/// What a life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A program that ends by itself.
    Batch,
    /// One that is used, and stopped.
    Service,
    /// The same in a group's network.
    Grouped,
}

/// Lives with one driver.
pub struct Lives<'a> {
    fixture: &'a Fixture,
    rng: RefCell<fastrand::Rng>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl<'a> Lives<'a> {
    /// Lives whose choices a seed decides.
    pub fn new(fixture: &'a Fixture, seed: u64) -> Self {
        Self { fixture, rng: RefCell::new(fastrand::Rng::with_seed(seed)), counts: Mutex::default() }
    }

    /// Plays each kind of life once.
    pub async fn once(&self) {
        for kind in [Kind::Batch, Kind::Service, Kind::Grouped] {
            self.live(kind).await;
        }
    }

    /// Plays so many lives at once, one after the other, until `end`.
    pub async fn many(&self, count: u64, end: Instant) {
        let worker = || async {
            while Instant::now() < end {
                let kind = [Kind::Batch, Kind::Service, Kind::Service, Kind::Grouped][self.choose(0..4)];
                self.live(kind).await;
            }
        };
        join_all((0..count).map(|_| worker())).await;
    }

    /// How often what happened.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many ends were not what the program's end was.
    pub fn wrong_ends(&self) -> u64 {
        self.counts().into_iter().filter(|(what, _)| what.starts_with("WRONG")).map(|(_, count)| count).sum()
    }

    fn choose(&self, range: std::ops::Range<usize>) -> usize {
        self.rng.borrow_mut().usize(range)
    }

    fn count(&self, what: &str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what.to_owned()).or_default() += 1;
    }

    /// Counts whether a call succeeded.
    fn outcome<T>(&self, what: &str, answer: Result<T, ClientError>) -> Option<T> {
        if answer.is_ok() {
            self.count(what);
        } else {
            self.count(&format!("{what}: failed"));
        }
        answer.ok()
    }

    async fn live(&self, kind: Kind) {
        let code = i32::try_from(self.choose(0..4)).unwrap_or_default();
        let script = match kind {
            Kind::Batch => format!("echo begun; sleep 0.{}; echo ended; exit {code}", self.choose(0..9)),
            Kind::Service | Kind::Grouped => "trap 'exit 0' TERM; while :; do echo line; sleep 0.2; done".to_owned(),
        };
        let mut task = self.fixture.task("soak", &script);
        let alloc = task.config.alloc_id.clone();
        let mut network = None;
        if kind == Kind::Grouped {
            let created = self.fixture.driver.create_network(alloc.clone(), "soak".into()).await;
            network = self.outcome("CreateNetwork", created).map(|created| created.isolation);
            task = task.option("network_mode", text(""));
            task.config.network_isolation.clone_from(&network);
        }
        if (kind != Kind::Grouped || network.is_some())
            && let Some(id) = self.start(&mut task).await
        {
            if kind == Kind::Batch {
                self.end(&id, Some(code)).await;
            } else {
                self.use_it(&id).await;
                self.stop(&id).await;
                self.end(&id, None).await;
            }
            self.outcome("DestroyTask", self.fixture.driver.destroy_task(id, Force::Yes).await);
        }
        if kind == Kind::Grouped {
            self.outcome("DestroyNetwork", self.fixture.driver.destroy_network(alloc, network).await);
        }
        // As the agent's own collection of garbage does.
        let _absent = fs::remove_dir_all(task.alloc_dir());
    }

    async fn start(&self, task: &mut Task) -> Option<TaskId> {
        for attempt in 0..STARTS {
            task.config.id = format!("{}/soak/{attempt:08x}", task.config.alloc_id).into();
            match self.fixture.driver.start_task(task.config.clone()).await {
                Ok(_) => {
                    self.count("StartTask");
                    return Some(task.config.id.clone());
                }
                Err(ClientError::Driver(error)) if error.recoverability == Recoverability::Recoverable => {
                    self.count("StartTask: failed, may be tried again");
                }
                Err(_) => {
                    self.count("StartTask: failed for good");
                    return None;
                }
            }
        }
        None
    }

    /// Executes commands, reads statistics, sends a signal.
    async fn use_it(&self, id: &TaskId) {
        for _ in 0..self.choose(1..4) {
            let command = vec!["echo".into(), "here".into()];
            let executed = self.fixture.driver.exec_task(id.clone(), command, Duration::from_secs(20)).await;
            let output = self.outcome("ExecTask", executed).map(|output| output.stdout);
            if output.is_some_and(|output| output != b"here\n") {
                self.count("WRONG output of a command");
            }
        }
        let samples = self.fixture.driver.task_stats(id.clone(), Duration::from_secs(1)).await;
        if let Some(samples) = self.outcome("TaskStats", samples) {
            let _some = timeout(Duration::from_secs(5), samples.take(2).count()).await;
        }
        self.outcome("SignalTask", self.fixture.driver.signal_task(id.clone(), "SIGWINCH".into()).await);
    }

    async fn stop(&self, id: &TaskId) {
        for _ in 0..STOPS {
            let grace = Duration::from_secs(self.rng.borrow_mut().u64(0..6));
            let stopped = self.fixture.driver.stop_task(id.clone(), grace, String::new()).await;
            if self.outcome("StopTask", stopped).is_some() {
                return;
            }
        }
    }

    /// Waits for the end; `code` is the program's own.
    async fn end(&self, id: &TaskId, code: Option<i32>) {
        let ended = self.outcome("WaitTask", self.fixture.driver.wait_task(id.clone()).await);
        if let Some(ended) = ended
            && code.is_some_and(|code| code != ended.result.exit_code)
        {
            self.count(&format!("WRONG exit code {} for {code:?}: {}", ended.result.exit_code, ended.error));
        }
    }
}
