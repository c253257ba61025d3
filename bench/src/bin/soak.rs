//! Many lives at once with faults of the engine, a dockerd that deadlocks among them, and then quiet: whether everything is
//! where it began.
//!
//! `LONGSHORE_SOAK_TASKS` lives run at once (200) for `LONGSHORE_SOAK_MINUTES` (10), `LONGSHORE_SOAK_FAULTS` percent of calls
//! are faulty (3), and the figures have `LONGSHORE_SOAK_QUIET` minutes to return (30). `LONGSHORE_SOAK_SEED` repeats the choices
//! of a run.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use bench::{figures::Figures, lives::Lives, row};
use conformance::{Fixture, dockerd::Dockerd, fault_proxy::FaultProxy, object, text};
use nomad_plugin::msgpack::Value;
use tokio::time::{Instant, sleep};

/// How long dockerd is deadlocked before somebody kills it.
const DEADLOCK: Duration = Duration::from_secs(60);
/// How often the figures are read while they return.
const LOOK: Duration = Duration::from_secs(5);

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(format!("LONGSHORE_SOAK_{name}")).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() -> ExitCode {
    let by_clock = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_nanos()));
    let (seed, percent) = (setting("SEED", by_clock), setting("FAULTS", 3));
    let (count, minutes, quiet) = (setting("TASKS", 200), setting("MINUTES", 10), setting("QUIET", 30));
    row(
        &format!("LONGSHORE_SOAK_SEED={seed}"),
        &format!("{count} lives at once for {minutes} min, {percent} % of calls faulty"),
    );

    let mut engine = Dockerd::start();
    let proxy = FaultProxy::at_random(&engine.socket(), seed);
    let fixture = Fixture::with(config(), &[("DOCKER_HOST", &proxy.address())]).await;
    let lives = Lives::new(&fixture, seed);
    lives.once().await;
    let before = Figures::read(&fixture, &engine);

    proxy.set_percent(percent);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let deadlock = async {
        sleep((end - Instant::now()) / 2).await;
        let most = Figures::read(&fixture, &engine);
        let suspended = engine.suspended();
        sleep(DEADLOCK).await;
        drop(suspended);
        engine.kill();
        engine.begin();
        most
    };
    let ((), most) = tokio::join!(lives.many(count, end), deadlock);
    proxy.set_percent(0);

    let (begin, quiet) = (Instant::now(), Duration::from_secs(60 * quiet));
    let mut after = Figures::read(&fixture, &engine);
    while !after.is_back_at(&before) && begin.elapsed() < quiet {
        sleep(LOOK).await;
        after = Figures::read(&fixture, &engine);
    }
    row("what", "before, under load, after");
    row("---", "---");
    for (name, values) in Figures::lines(&[&before, &most, &after]) {
        row(name, &values);
    }
    for (what, count) in lives.counts() {
        row(&what, &count.to_string());
    }
    row("back after", &format!("{:.0?} of quiet", begin.elapsed()));
    let is_back = after.is_back_at(&before) && lives.wrong_ends() == 0;
    fixture.end().await;
    if is_back { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What nobody owns is removed soon, and the pause image is the built-in one.
fn config() -> Value {
    let dangling = object(&[("period", text("20s")), ("creation_grace", text("1m"))]);
    let gc = object(&[("dangling_containers", dangling), ("image_delay", text("1h"))]);
    object(&[("gc", gc), ("infra_image", text("localhost:1/longshore-test/pause:1"))])
}
