//! A machine for tests: a data directory, agents that run the job `j` in it, and their driver.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::FakeDriver;
use crate::{
    Failure, agent,
    data_dir::DataDir,
    job_file::from_text,
    job_runner::Asks,
    state::{JobState, TaskState},
    stop::{Stop, raise},
};

/// Of paused time: longer than anything that a test waits for.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A data directory, and the driver of the agents that use it.
pub(crate) struct Machine {
    directory: tempfile::TempDir,
    pub(crate) driver: FakeDriver,
}

/// An agent that runs a job.
pub(crate) struct Agent {
    stop: watch::Sender<Stop>,
    wake: mpsc::Sender<()>,
    work: JoinHandle<Result<(), Failure>>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), driver: FakeDriver::new() }
    }

    pub(crate) fn data(&self) -> DataDir {
        DataDir::open(Some(self.directory.path())).unwrap()
    }

    /// Runs a job `j` with the group `g` and what is given of it.
    pub(crate) fn begin(&self, kind: &str, group: &str) -> Agent {
        let text = format!("job \"j\" {{\n type = \"{kind}\"\n group \"g\" {{\n{group}\n }}\n}}\n");
        let ((stop, asked), (wake, allocs)) = (watch::channel(Stop::No), mpsc::channel(1));
        let asks = Asks { job: asked, allocs };
        #[expect(clippy::disallowed_methods, reason = "the test holds it")]
        let work = tokio::spawn(agent::run(from_text(&text), self.data(), self.driver.clone(), asks));
        Agent { stop, wake, work }
    }

    /// Runs a job to its end.
    pub(crate) async fn run(&self, kind: &str, group: &str) -> Result<(), Failure> {
        self.begin(kind, group).end().await
    }

    /// What is recorded of the job.
    pub(crate) fn state(&self) -> Option<JobState> {
        self.data().load("j").unwrap()
    }

    /// What is recorded of a task of the first allocation.
    pub(crate) fn task(&self, task: &str) -> TaskState {
        self.state().unwrap().allocs[0].tasks[task].clone()
    }

    /// Waits until a call was made so many times.
    pub(crate) async fn called(&self, call: &str, times: usize) {
        let mut calls = self.driver.0.called.subscribe();
        let made = async {
            while self.driver.times(call).len() < times {
                calls.changed().await.unwrap();
            }
        };
        let in_time = timeout(A_DAY, made).await.is_ok();
        assert!(in_time, "{call}, {times} times: {:?}", self.driver.calls());
        // What follows from the call is done before time advances.
        sleep(Duration::from_millis(500)).await;
    }
}

impl Agent {
    /// Asks for the job's end.
    pub(crate) fn stop(&self, urgency: Stop) {
        raise(&self.stop, urgency);
    }

    /// Has the agent look which allocations are to end.
    pub(crate) fn wake(&self) {
        self.wake.try_send(()).unwrap();
    }

    /// Waits for the agent's end.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        timeout(A_DAY, self.work).await.expect("the agent ends within a day").unwrap()
    }

    /// Kills the agent: nothing of it runs on, and nothing is undone.
    pub(crate) async fn kill(self) {
        self.work.abort();
        let _aborted = self.work.await;
    }
}

/// A task's block, with what is given of it.
pub(crate) fn task(name: &str, inner: &str) -> String {
    format!(
        "  task \"{name}\" {{\n   driver = \"docker\"\n   logs {{\n disabled = true\n }}\n   config {{}}\n{inner}\n  }}\n"
    )
}
