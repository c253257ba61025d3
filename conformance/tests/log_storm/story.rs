//! A task that logs, and what happens to those on its lines' way.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use conformance::{
    DEADLINE, Fixture, Started, Task, dockerd::Dockerd, holder::holders, kill, lines::Judgement, object, text, until,
};
use fastrand::Rng;
use futures_util::StreamExt;
use nomad_plugin::msgpack::Value;
use tokio::task::JoinSet;

use crate::contents::Content;

/// Where the engine stores the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logging {
    /// One file without a bound.
    Whole,
    /// Twenty files, which last for as long as a driver is away.
    Rotated,
    /// Five files, of which four are compressed.
    Compressed,
    /// One file that is emptied when it is full.
    One,
    /// No file that is read: the driver asks the engine.
    Local,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Driver,
    Holder,
    DriverAndHolder,
    Reader,
    ReaderAndDriver,
    EngineStops,
    EngineDies,
    Truncated,
    Deleted,
    HalfAnObject,
}

use Step::{
    Deleted, Driver, DriverAndHolder, EngineDies, EngineStops, HalfAnObject, Holder, Reader, ReaderAndDriver, Truncated,
};

impl Step {
    /// What takes no line.
    pub(crate) const HARMLESS: [Self; 5] = [Driver, Holder, DriverAndHolder, Reader, ReaderAndDriver];
    /// What takes lines.
    pub(crate) const HARMFUL: [Self; 3] = [Truncated, Deleted, HalfAnObject];
    /// What is done to an engine of one's own.
    pub(crate) const ENGINE: [Self; 3] = [EngineStops, EngineDies, Driver];
}

impl Logging {
    pub(crate) fn value(self, content: Content) -> Value {
        // About a hundred short lines, or three long ones.
        let size = if content == Content::Long { "3m" } else { "8k" };
        let driver = if self == Self::Local { "local" } else { "json-file" };
        let config: &[(&str, &str)] = match self {
            Self::Whole | Self::Local => &[],
            Self::Rotated => &[("max-size", size), ("max-file", "20")],
            Self::Compressed => &[("max-size", size), ("max-file", "5"), ("compress", "true")],
            Self::One => &[("max-size", size), ("max-file", "1")],
        };
        let config: Vec<_> = config.iter().map(|(name, value)| (*name, text(value))).collect();
        object(&[("type", text(driver)), ("config", Value::List(vec![object(&config)]))])
    }
}

/// As many lines as three files have.
const FILES: u64 = 300;

/// A driver with a task that logs.
pub(crate) struct Story {
    fixture: Fixture,
    engine: Option<Dockerd>,
    task: Task,
    started: Started,
    content: Content,
    logging: Logging,
    messages: Arc<Mutex<Vec<String>>>,
    listeners: JoinSet<()>,
    /// How many lines may be lost where files do not last.
    exposed: u64,
}

/// What became of a task's log.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) judgement: Judgement,
    /// Lines that are not whole.
    pub(crate) torn: Vec<String>,
    pub(crate) written: u64,
    /// How many were written while somebody was away, with the files that were then read.
    pub(crate) exposed: u64,
    /// The events of the task about its log.
    pub(crate) losses: Vec<String>,
    /// What the driver logged.
    #[expect(dead_code, reason = "it is shown where a test fails")]
    pub(crate) log: Vec<String>,
}

impl Story {
    pub(crate) async fn begin(content: Content, logging: Logging, engine: Option<Dockerd>) -> Self {
        let address = engine.as_ref().map(Dockerd::address);
        let env: Vec<_> = address.iter().map(|address| ("DOCKER_HOST", address.as_str())).collect();
        let fixture = Fixture::with(object(&[]), &env).await;
        let task = fixture
            .task("steady", &content.script())
            .option("logging", logging.value(content))
            .option("tty", Value::Bool(content == Content::Terminal));
        let (messages, listeners) = (Arc::default(), JoinSet::new());
        let started = fixture.run(&task).await;
        let mut story = Self { fixture, engine, task, started, content, logging, messages, listeners, exposed: 0 };
        story.listen().await;
        story.read_on(3);
        story
    }

    async fn listen(&mut self) {
        let mut events = self.fixture.driver.task_events().await.unwrap();
        let messages = self.messages.clone();
        self.listeners.spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                messages.lock().unwrap().push(event.message);
            }
        });
    }

    fn count(&self) -> Option<u64> {
        fs::read_to_string(self.task.alloc_dir().join("steady/local/count")).ok()?.trim().parse().ok()
    }

    /// Waits until the task has written this many more lines.
    async fn written_on(&self, lines: u64) {
        let mut goal = None;
        until("more lines are written", || {
            let count = self.count();
            goal = goal.or(count.map(|count| count + lines));
            count >= goal && goal.is_some()
        })
        .await;
    }

    /// Waits until this many more lines have been read.
    fn read_on(&self, lines: usize) {
        let goal = self.task.pipes.stdout.bytes().len() + lines * self.content.length();
        self.task.pipes.stdout.wait_for("more lines", |bytes| bytes.len() >= goal);
    }

    async fn recover(&mut self) {
        self.fixture.start_again().await;
        self.listen().await;
        self.fixture.driver.recover_task(self.started.handle.clone()).await.unwrap();
    }

    fn holder(&self) -> i32 {
        let found = holders(&self.fixture.directory().join("state"));
        assert_eq!(found.len(), 1, "log holders: {found:?}");
        found[0]
    }

    fn log(&self) -> PathBuf {
        let inspected = conformance::docker::inspect(&self.task.container());
        inspected["LogPath"].as_str().unwrap().into()
    }

    pub(crate) async fn happens(&mut self, step: Step, rng: &mut Rng) {
        let away = if self.content == Content::Long { rng.u64(0..4) } else { rng.u64(0..60) };
        let before = self.count().unwrap_or_default();
        match step {
            Driver => {
                self.fixture.kill();
                self.written_on(away).await;
                self.recover().await;
            }
            Holder => {
                let dead = self.holder();
                kill([dead]);
                let state = self.fixture.directory().join("state");
                until("another log holder", || matches!(holders(&state)[..], [other] if other != dead)).await;
            }
            DriverAndHolder => {
                kill([self.fixture.driver.reattach_config().pid, self.holder()]);
                self.written_on(away).await;
                self.task.pipes.stdout.to_the_end();
                self.task.pipes.stdout.read();
                self.task.pipes.stderr.read();
                self.recover().await;
            }
            Reader => {
                self.task.pipes.stdout.end();
                self.written_on(away).await;
                self.task.pipes.stdout.read();
            }
            ReaderAndDriver => {
                self.task.pipes.stdout.end();
                self.written_on(away).await;
                self.fixture.kill();
                let first = rng.bool();
                if first {
                    self.task.pipes.stdout.read();
                }
                self.recover().await;
                if !first {
                    self.task.pipes.stdout.read();
                }
            }
            EngineStops | EngineDies => {
                let engine = self.engine.as_mut().unwrap();
                if step == EngineStops {
                    engine.stop();
                } else {
                    engine.kill();
                }
                engine.begin();
            }
            Truncated | Deleted | HalfAnObject => {
                let path = self.log();
                // One that was removed is there again at the next rotation.
                until("a log file", || path.exists()).await;
                match step {
                    Deleted => fs::remove_file(path).unwrap(),
                    Truncated => fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap(),
                    _ => {
                        let mut log = fs::File::options().append(true).open(path).unwrap();
                        log.write_all(br#"{"log":"a half of an obj"#).unwrap();
                    }
                }
            }
        }
        self.exposed += self.count().unwrap_or_default().saturating_sub(before) + FILES;
        self.read_on(rng.usize(1..if self.content == Content::Long { 4 } else { 100 }));
    }

    /// Ends the engine, and with it the task: what came, and what the engine has.
    pub(crate) async fn ended_by_engine(mut self) -> (String, String) {
        let engine = self.engine.as_mut().unwrap();
        engine.stop();
        engine.begin();
        self.fixture.driver.wait_task(self.started.id.clone()).await.unwrap();
        let came = String::from_utf8_lossy(&self.task.pipes.stdout.to_the_end()).into_owned();
        let has = engine.logs(&self.task.container());
        self.fixture.end().await;
        (came, has)
    }

    /// Stops the task and judges its log.
    pub(crate) async fn end(mut self) -> Outcome {
        let id = self.started.id.clone();
        self.fixture.driver.stop_task(id.clone(), *DEADLINE, String::new()).await.unwrap();
        self.fixture.driver.wait_task(id).await.unwrap();
        let came = self.task.pipes.stdout.to_the_end();
        let written = self.count().unwrap();
        let log = self.fixture.log.clone();
        self.fixture.end().await;
        while self.listeners.join_next().await.is_some() {}
        let (judgement, torn) = self.content.judge(&came, written, self.logging == Logging::Local);
        let messages = self.messages.lock().unwrap().clone();
        let losses = messages.into_iter().filter(|message| message.contains("log")).collect();
        let log = log.lock().unwrap().clone();
        Outcome { judgement, torn, written, exposed: self.exposed, losses, log }
    }
}
