//! One run of a life: the driver, the proxy before its engine, and what was found.

use std::{
    cell::Cell,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use conformance::{
    DEADLINE, Fixture, Task,
    fault_proxy::{Fault, FaultProxy, Plan},
    image, object, text,
};
use futures_util::StreamExt;
use hyper::Method;
use nomad_plugin::{
    client::ClientError,
    driver::{Health, Recoverability, StartedTask},
    msgpack::Value as Setting,
};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, timeout};

use super::{
    finding::{Finding, Question},
    world::World,
};

/// How many seconds longer than its caller's deadline a call may take: ten, and two for a busy machine.
pub(crate) const LATE: u32 = 12;
/// How many seconds later it is not waited for any more.
const GIVEN_UP: u32 = 30;
/// How many seconds a driver may take to see that its engine is healthy: it looks twice a minute.
const HEALTHY: u32 = 75;
/// Longer than any call may take whose caller has no deadline: the engine may work on some for five minutes.
pub(crate) const LONGEST: Duration = Duration::from_secs(330);

/// A run.
pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    pub(crate) proxy: FaultProxy,
    pub(crate) fixture: Fixture,
    pub(crate) plan: Option<Plan>,
    /// Since when the driver has had the task.
    has_it_since: Cell<SystemTime>,
    found: Mutex<(Vec<Finding>, Vec<String>)>,
}

impl Run {
    /// Starts the driver, in the phase `setup`.
    pub(crate) async fn begin(world: Arc<World>, plan: Option<Plan>, options: &[(&str, Setting)]) -> Self {
        let proxy = FaultProxy::before(&world.engine.socket(), plan.clone());
        proxy.enter("setup");
        let dangling =
            object(&[("period", text("10s")), ("creation_grace", text("1m")), ("unlabelled", Setting::Bool(false))]);
        let gc = object(&[("dangling_containers", dangling), ("image_delay", text("1s"))]);
        let common = [("gc", gc), ("infra_image", text("localhost:1/longshore-test/pause:1"))];
        let config = object(&[&common, options].concat());
        let fixture = Fixture::with(config, &[("DOCKER_HOST", &proxy.address())]).await;
        let run =
            Self { world, proxy, fixture, plan, has_it_since: Cell::new(SystemTime::now()), found: Mutex::default() };
        run.healthy().await;
        run
    }

    /// Notes something that is wrong.
    pub(crate) fn wrong(&self, question: Question, text: impl Into<String>) {
        self.found.lock().unwrap().0.push(Finding { question, text: text.into() });
    }

    /// Notes something that is no failure.
    pub(crate) fn remark(&self, text: impl Into<String>) {
        self.found.lock().unwrap().1.push(text.into());
    }

    /// What was found so far.
    pub(crate) fn found(&self) -> (Vec<Finding>, Vec<String>) {
        self.found.lock().unwrap().clone()
    }

    /// Waits until the driver says that it is healthy. One that was asked while a fault was made is so later.
    pub(crate) async fn healthy(&self) {
        let healthy = async {
            let mut fingerprints = self.fixture.driver.fingerprint().await?;
            while let Some(fingerprint) = fingerprints.next().await {
                if fingerprint?.health == Health::Healthy {
                    return Ok::<_, ClientError>(true);
                }
            }
            Ok(false)
        };
        match timeout(seconds(HEALTHY), healthy).await {
            Ok(Ok(true)) => {}
            other => self.wrong(Question::Serves, format!("the driver does not become healthy: {other:?}")),
        }
    }

    /// Makes a call that must be answered within the caller's deadline and [`LATE`].
    pub(crate) async fn within<T>(&self, name: &str, deadline: Duration, call: impl Future<Output = T>) -> Option<T> {
        let begin = Instant::now();
        let longest = (deadline + seconds(GIVEN_UP)).min(LONGEST);
        let Ok(answer) = timeout(longest, call).await else {
            self.wrong(Question::Deadline, format!("{name} is not answered within {longest:?}"));
            return None;
        };
        if begin.elapsed() > deadline + seconds(LATE) {
            let took = begin.elapsed();
            self.wrong(Question::Deadline, format!("{name} with a deadline of {deadline:?} took {took:.1?}"));
        }
        Some(answer)
    }

    /// A task that writes down that it runs.
    pub(crate) fn task(&self, script: &str) -> Task {
        self.fixture.task("web", &format!("echo run >>/alloc/data/runs; {script}")).option("image", text(&image()))
    }

    /// Starts a task as an agent does: once more under another id, up to three times, as long as that may help.
    pub(crate) async fn start(&self, task: &mut Task) -> Option<StartedTask> {
        self.proxy.enter("start");
        for attempt in 0..4 {
            task.config.id = format!("{}/{}/{attempt:08x}", task.config.alloc_id, task.config.name).into();
            let answer = self.within("StartTask", LONGEST, self.fixture.driver.start_task(task.config.clone())).await?;
            match answer {
                Ok(started) => {
                    self.has_it();
                    return Some(started);
                }
                Err(error) => {
                    self.remark(format!("StartTask: {error}"));
                    if !self.helps("StartTask", &error) {
                        return None;
                    }
                    // An agent's collector of the log begins again with the task.
                    for pipe in [&task.pipes.stdout, &task.pipes.stderr] {
                        if pipe.has_ended() {
                            pipe.read();
                        }
                    }
                }
            }
        }
        self.wrong(Question::Start, "four attempts failed");
        None
    }

    /// Notes that the driver has the task from now on.
    pub(crate) fn has_it(&self) {
        self.has_it_since.set(SystemTime::now());
    }

    /// How long an end that was reported at a time could have been reported before.
    pub(crate) fn lateness(&self, reported: SystemTime, finished: &Value) -> Duration {
        let late = |since| reported.duration_since(since).unwrap_or_default();
        let finished = finished.as_str().and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
        finished.map_or(Duration::ZERO, |finished| late(finished.into()).min(late(self.has_it_since.get())))
    }

    /// Whether an error says that another attempt helps. It does, for no second one gets a fault; but an engine that answers
    /// 500 to what would change something has refused that in its own words, and is believed.
    pub(crate) fn helps(&self, call: &str, error: &ClientError) -> bool {
        let helps = matches!(error, ClientError::Driver(error) if error.recoverability == Recoverability::Recoverable);
        if !helps && !self.plan.as_ref().is_some_and(is_refusal) {
            self.wrong(Question::Recoverability, format!("{call} fails for good: {error}"));
        }
        helps
    }

    /// Ends the driver, and removes what it left.
    pub(crate) async fn end(self) {
        let _is_noted_already = self.fixture.driver.shutdown().await;
        self.fixture.driver.kill().await;
        for made in self.proxy.made() {
            let _absent = self.proxy.ask(Method::DELETE, &format!("/containers/{}?force=1&v=1", made.id)).await;
        }
    }

    /// Whether the engine has something by a path.
    pub(crate) async fn has(&self, path: &str) -> bool {
        self.proxy.ask(Method::GET, path).await.is_ok_and(|(status, _)| status == 200)
    }

    /// The engine's own word on the container that was created last.
    pub(crate) async fn last_container(&self) -> Value {
        let Some(made) = self.proxy.made().pop() else { return Value::Null };
        let path = format!("/containers/{}/json", made.id);
        self.proxy.ask(Method::GET, &path).await.map(|(_, container)| container).unwrap_or_default()
    }
}

/// Whether the engine says that it will not do something.
pub(crate) fn is_refusal(plan: &Plan) -> bool {
    matches!(plan.fault, Fault::ErrorBefore | Fault::ErrorAfter) && !plan.call.reads()
}

/// How often the program of a task ran.
pub(crate) fn runs(task: &Task) -> usize {
    fs::read_to_string(task.alloc_dir().join("alloc/data/runs")).unwrap_or_default().lines().count()
}

/// So many seconds, or more where tests have more patience.
pub(crate) fn seconds(count: u32) -> Duration {
    *DEADLINE / 60 * count
}

/// Waits while others work.
pub(crate) async fn passes(time: Duration) {
    let _always = timeout(time, std::future::pending::<()>()).await;
}

/// Looks until a condition is true; whether it was in time.
pub(crate) async fn comes(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    wait::look_within(limit, || condition().then_some(())).await.is_some()
}
