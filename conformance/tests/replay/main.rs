//! Recordings of a real Nomad agent, played against the driver and a real dockerd: the agent's messages byte for byte, in
//! its order and with its concurrency, and each answer held against the recorded one, field by field.
//!
//! A message is sent once everything has been answered that had been answered before it. Two things alone are changed:
//! names of the recording's host are others of the same length (`substitution`), and what the driver itself made before
//! is in the place of what the recorded driver made.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod call;
mod difference;
mod meant;
mod player;
mod process;
mod recording;
mod stage;
mod substitution;
mod terminal;

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};

use futures_util::FutureExt;
use recording::Recording;
use stage::{OwnEngine, Stage};
use tokio::task::JoinSet;

/// Plays recordings side by side; panics with all that is not as it should be.
async fn play(names: &[&'static str], own: OwnEngine) {
    let only = std::env::var("LONGSHORE_REPLAY").ok();
    let mut plays = JoinSet::new();
    for name in names.iter().copied().filter(|name| only.as_ref().is_none_or(|only| only == name)) {
        plays.spawn(async move { (name, AssertUnwindSafe(wrong(name, own)).catch_unwind().await) });
    }
    let mut all = String::new();
    while let Some(played) = plays.join_next().await {
        let (name, wrong) = played.unwrap();
        let wrong = wrong.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            vec![text.unwrap_or_else(|| "it failed; why is above".to_owned())]
        });
        all.extend(wrong.iter().map(|wrong| format!("\n{name}: {wrong}")));
    }
    assert!(all.is_empty(), "{all}");
}

/// What is not as it should be in a recording's play.
async fn wrong(name: &'static str, own: OwnEngine) -> Vec<String> {
    let recording = Recording::open(name);
    let mut stage = Stage::set(&recording, own);
    let log = Arc::<Mutex<String>>::default();
    let shown = ShownOnFailure(name, log.clone());
    let answers = player::play(&recording, &mut stage, log).await;
    std::mem::forget(shown);
    let found = difference::all(&answers, &stage.substitution);
    let meant: Vec<_> = meant::ALL.iter().filter(|meant| meant.is_in(name)).collect();
    let not_meant = found.iter().filter(|difference| !meant.iter().any(|meant| meant.is(difference)));
    let mut wrong: BTreeSet<_> = not_meant.map(|difference| format!("this is not meant: {difference}")).collect();
    for meant in meant.iter().filter(|meant| meant.shown_by.contains(&name)) {
        if !found.iter().any(|difference| meant.is(difference)) {
            wrong.insert(format!("this is there no more: {} {} ({})", meant.call, meant.field, meant.because));
        }
    }
    let left = meant::LEFT.iter().filter(|(recording, ..)| *recording == name);
    let left: Vec<_> = left.map(|(_, container, _)| *container).collect();
    for found in stage.containers() {
        if !left.iter().any(|pattern| meant::matches(pattern, &found)) {
            wrong.insert(format!("the container {found} is left"));
        }
    }
    wrong.into_iter().collect()
}

/// Shows the end of what a driver logged when its play panics.
struct ShownOnFailure(&'static str, Arc<Mutex<String>>);

impl Drop for ShownOnFailure {
    fn drop(&mut self) {
        let log = self.1.lock().unwrap();
        let lines: Vec<_> = log.lines().collect();
        #[expect(clippy::print_stderr, reason = "for who reads why a test failed")]
        for line in &lines[lines.len().saturating_sub(20)..] {
            eprintln!("{}: {line}", self.0);
        }
    }
}

// Not played: 01c, in which the plugin is not launched; 01e, which waits for three fingerprints of 30 s each (`outages` sees
// an engine come as well); 13i, whose driver loses sight of its task with the engine and has its agent start another (13j is
// the same with a driver that does not).

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_starts() {
    play(&["01a", "01b", "01d", "15"], OwnEngine::No).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_live_and_end() {
    play(&["02", "03", "04a", "04b", "09"], OwnEngine::No).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_come_and_go() {
    play(&["11", "12", "14", "17"], OwnEngine::No).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn logs_are_collected_or_not() {
    play(&["16a", "16b", "16c", "16d"], OwnEngine::No).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn groups_have_networks() {
    play(&["05a", "05b", "05c"], OwnEngine::No).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_plugin_dies() {
    play(&["06a", "06b", "10a"], OwnEngine::No).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_agent_dies_or_is_restarted() {
    play(&["07a", "07b", "08a"], OwnEngine::No).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_break() {
    play(&["13a", "13b", "13c", "13d", "13e", "13f", "13g", "13h"], OwnEngine::No).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_engine_leaves_and_comes_back() {
    play(&["13j"], OwnEngine::Yes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_host_is_restarted() {
    play(&["08b"], OwnEngine::WithoutLiveRestore).await;
}
