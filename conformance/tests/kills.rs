//! The plugin, its log holder or both killed with SIGKILL at each step of the plugin, which is started again as an agent does:
//! the task is found or cleanly removed, its program never runs twice, and nothing is left after the grace and a round of the
//! search for dangling containers.
//!
//! `LONGSHORE_ALL=1` plays every kill at every step; otherwise a seed chooses some steps and what is killed at each, and
//! `LONGSHORE_KILLS_SEED` repeats it. The steps are those in the driver's sources. The calls follow recordings 06a, 06b and 10a of a real agent: a call in flight
//! is made again in the new process under the same id, after `RecoverTask` if there is a handle; `DestroyNetwork` never is.

#![expect(clippy::print_stdout, reason = "the seed is for the reader of the test's output")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use conformance::{
    DEADLINE, Fixture, Task, dockerd::Dockerd, holder::holders, kill, mounts, object, signal, text, until, until_within,
};
use futures_util::future::join_all;
use nomad_plugin::{
    client::ClientError,
    driver::{Force, TaskHandle},
    msgpack::Value,
};

/// How many steps a sample has.
const SAMPLE: usize = 12;

/// Notes each run; SIGTERM does not end it.
const PROGRAM: &str = "echo run >>/alloc/data/runs; trap '' TERM; while :; do sleep 1; done";

/// The shortest grace that the driver takes, and time to look; many drivers do so at once.
fn patience() -> Duration {
    Duration::from_secs(60) + 4 * *DEADLINE
}

/// All steps in the driver's sources.
fn steps() -> BTreeSet<String> {
    let mut steps = BTreeSet::new();
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/nomad-driver-docker/src")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let source = fs::read_to_string(&path).unwrap_or_default();
        let after = source.split("reached(\"").skip(1);
        steps.extend(after.filter_map(|after| Some(after.split_once('"')?.0.to_owned())));
    }
    steps
}

/// What is killed at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Plugin,
    LogHolder,
    PluginAndLogHolder,
}

impl Killed {
    const ALL: [Self; 3] = [Self::Plugin, Self::LogHolder, Self::PluginAndLogHolder];

    /// The variable by which the plugin dies at a step, or suspends itself.
    fn variable(self) -> &'static str {
        match self {
            Self::Plugin | Self::PluginAndLogHolder => "LONGSHORE_TEST_KILL_AT",
            Self::LogHolder => "LONGSHORE_TEST_SUSPEND_AT",
        }
    }
}

/// The life of a task in a group's network, with one kill in it.
struct Life<'a> {
    engine: &'a Dockerd,
    step: String,
    killed: Killed,
    fixture: Fixture,
    task: Task,
    handle: Option<TaskHandle>,
    /// How often the plugin has died.
    deaths: u32,
}

impl<'a> Life<'a> {
    async fn begin(engine: &'a Dockerd, step: &str, killed: Killed) -> Self {
        let dangling = [("period", text("1s")), ("creation_grace", text("1m")), ("unlabelled", Value::Bool(false))];
        let gc = object(&[("dangling_containers", object(&dangling))]);
        // It is nowhere, so that the built-in image is used.
        let config = object(&[("gc", gc), ("infra_image", text("localhost:1/longshore-test/pause:1"))]);
        let fixture = Fixture::with(config, &[("DOCKER_HOST", &engine.address()), (killed.variable(), step)]).await;
        let task = fixture.task("web", PROGRAM).option("network_mode", text(""));
        let life = Self { engine, step: step.to_owned(), killed, fixture, task, handle: None, deaths: 0 };
        life.look_for_dangling().await;
        life
    }

    /// The first fingerprint is where a driver begins to look for what nobody owns.
    async fn look_for_dangling(&self) {
        let _closed_again = self.fixture.driver.fingerprint().await.expect("the driver answers");
    }

    /// Whether the plugin died under a call. Then another one is started, and recovers the task if there is one.
    async fn died<T>(&mut self, answer: &Result<T, ClientError>) -> bool {
        if !matches!(answer, Err(ClientError::Transport(_))) {
            return false;
        }
        self.deaths += 1;
        if self.killed == Killed::PluginAndLogHolder {
            kill_holders(&self.state());
        }
        self.fixture.set_environment(&[("DOCKER_HOST", &self.engine.address())]);
        self.fixture.start_again().await;
        self.look_for_dangling().await;
        if let Some(handle) = self.handle.clone() {
            // A task whose container is removed cannot be recovered, which is its end.
            let _recovered_or_not = self.fixture.driver.recover_task(handle).await;
        }
        true
    }

    async fn live(&mut self) {
        let alloc = self.task.config.alloc_id.clone();
        let mut created = self.fixture.driver.create_network(alloc.clone(), "web".to_owned()).await;
        if self.died(&created).await {
            // As after an agent's restart.
            created = self.fixture.driver.create_network(alloc.clone(), "web".to_owned()).await;
        }
        let isolation = self.answered("CreateNetwork", created).isolation;
        self.task.config.network_isolation = Some(isolation.clone());
        let mut started = self.fixture.driver.start_task(self.task.config.clone()).await;
        if self.died(&started).await {
            started = self.fixture.driver.start_task(self.task.config.clone()).await;
        }
        self.handle = Some(self.answered("StartTask", started).handle);
        self.runs_once().await;
        let id = self.task.config.id.clone();
        let (second, driver) = (Duration::from_secs(1), &self.fixture.driver);
        let stopped = driver.stop_task(id.clone(), second, String::new()).await;
        if self.died(&stopped).await {
            let again = self.fixture.driver.stop_task(id.clone(), second, String::new()).await;
            self.answered("StopTask", again);
        } else {
            self.answered("StopTask", stopped);
        }
        let destroyed = self.fixture.driver.destroy_task(id.clone(), Force::Yes).await;
        if self.died(&destroyed).await {
            let _unknown_by_now = self.fixture.driver.destroy_task(id, Force::Yes).await;
        } else {
            self.answered("DestroyTask", destroyed);
        }
        let removed = self.fixture.driver.destroy_network(alloc, Some(isolation)).await;
        if !self.died(&removed).await {
            self.answered("DestroyNetwork", removed);
        }
    }

    fn answered<T>(&self, call: &str, answer: Result<T, ClientError>) -> T {
        answer.unwrap_or_else(|error| panic!("{call}, {}: {error}\n{:#?}", self.step, self.fixture.log))
    }

    fn runs(&self) -> String {
        fs::read_to_string(self.task.alloc_dir().join("alloc/data/runs")).unwrap_or_default()
    }

    fn containers(&self) -> Vec<String> {
        let label = format!("label=com.hashicorp.nomad.alloc_id={}", self.task.config.alloc_id);
        let names = self.engine.run(&["ps", "--all", "--format", "{{.Names}}", "--filter", &label]);
        names.lines().map(str::to_owned).collect()
    }

    /// One container of the task, whose program is started once.
    async fn runs_once(&self) {
        let of_task = self.containers().into_iter().filter(|name| *name == self.task.container()).count();
        assert_eq!(of_task, 1, "{}", self.step);
        until("the program runs", || !self.runs().is_empty()).await;
        assert_eq!(self.runs(), "run\n", "{}", self.step);
    }

    fn state(&self) -> PathBuf {
        self.fixture.directory().join("state")
    }

    /// What is left of it: containers, its network's namespace, mounts, records.
    fn left(&self) -> Vec<String> {
        let state = self.state();
        let records = ["containers", "destroyed", "networks"].map(|kind| files(&state.join(kind)));
        let namespace = PathBuf::from(format!("/run/netns/longshore-{}", self.task.config.alloc_id));
        let paths = records.into_iter().flatten().chain(mounts::below(self.fixture.directory()));
        let paths = paths.chain(Some(namespace).filter(|path| path.exists()));
        self.containers().into_iter().chain(paths.map(|path| path.display().to_string())).collect()
    }

    async fn end(self) {
        let runs = self.runs();
        fs::remove_dir_all(self.task.alloc_dir()).unwrap_or_default();
        let is_clean = || self.left().is_empty();
        until_within(patience(), &format!("nothing is left of {:?}", self.step), is_clean).await;
        let deaths = u32::from(self.killed != Killed::LogHolder);
        assert_eq!((self.deaths, runs.as_str()), (deaths, "run\n"), "{}: the program runs once", self.step);
        self.fixture.end().await;
    }
}

fn kill_holders(state: &Path) {
    for holder in holders(state) {
        kill([holder]);
    }
}

/// Waits until the plugin suspends itself at a step, and kills its log holder then.
async fn kill_holders_at_the_step(step: &str, plugin: i32, state: &Path) {
    let status = || fs::read_to_string(format!("/proc/{plugin}/stat")).unwrap_or_default();
    let is_suspended = || status().rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
    until_within(patience(), &format!("{step} is reached"), is_suspended).await;
    kill_holders(state);
    signal(plugin, "CONT");
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Lives with these kills, all at once.
async fn live_all(lives: impl IntoIterator<Item = (String, Killed)>) {
    let engine = Dockerd::start();
    let live = |(step, killed): (String, Killed)| {
        let engine = &engine;
        async move {
            let mut life = Life::begin(engine, &step, killed).await;
            if killed == Killed::LogHolder {
                let (plugin, state) = (life.fixture.driver.reattach_config().pid, life.state());
                tokio::join!(life.live(), kill_holders_at_the_step(&step, plugin, &state));
            } else {
                life.live().await;
            }
            life.end().await;
        }
    };
    join_all(lives.into_iter().map(live)).await;

    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
    assert_eq!(engine.run(&["volume", "ls", "--quiet"]), "");
}

#[tokio::test]
async fn a_kill_at_any_step_leaves_one_task_or_none_and_nothing_else() {
    let steps = steps();
    let phases: BTreeSet<&str> = steps.iter().filter_map(|step| Some(step.split_once(": ")?.0)).collect();
    assert_eq!(phases, ["destroy", "network", "start", "stop"].into());

    if std::env::var_os("LONGSHORE_ALL").is_some() {
        for killed in Killed::ALL {
            live_all(steps.iter().map(|step| (step.clone(), killed))).await;
        }
        return;
    }
    let given = std::env::var("LONGSHORE_KILLS_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed: u64 = given.unwrap_or_else(|| fastrand::u64(..));
    println!("LONGSHORE_KILLS_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let sampled = rng.choose_multiple(steps, SAMPLE);
    let lives: Vec<_> = sampled.into_iter().map(|step| (step, Killed::ALL[rng.usize(..Killed::ALL.len())])).collect();
    live_all(lives).await;
}
