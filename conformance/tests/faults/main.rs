//! Every fault of the engine at every call of a task's life, and whether nothing is lost by it.
//!
//! A life without a fault says which calls there are; then it is played once for each fault at each of them. Without
//! `LONGSHORE_FAULTS=all` a sample is played, by the seed `LONGSHORE_FAULTS_SEED` if it is set. Otherwise
//! `LONGSHORE_FAULTS` is a regular expression for the names of the cases to play.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the seed and the table are for the reader of the test's output")]

mod case;
mod end;
mod finding;
mod lives;
mod run;
mod table;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use case::{Case, Life};
use finding::Outcome;
use lives::{Normal, play};
use regex::Regex;
use table::{Table, describe};
use tokio::{task::JoinSet, time::Instant};
use world::World;

/// How many lives are played at once.
const AT_ONCE: usize = 12;
/// How many lives are played at once that mostly wait.
const WAITING_AT_ONCE: usize = 40;
/// How many cases a sample has: with them the test takes less than two minutes.
const SAMPLE: usize = 20;

/// Which cases are played.
enum Choice {
    All,
    Named(Regex),
    Sample(u64),
}

impl Choice {
    fn of_environment() -> Self {
        match std::env::var("LONGSHORE_FAULTS").as_deref() {
            Ok("all") => Self::All,
            Ok(names) if !names.is_empty() => Self::Named(Regex::new(names).unwrap()),
            _ => {
                let seed = std::env::var("LONGSHORE_FAULTS_SEED").ok().and_then(|seed| seed.parse().ok());
                Self::Sample(seed.unwrap_or_else(|| fastrand::u64(..)))
            }
        }
    }

    fn of(&self, mut cases: Vec<Case>) -> Vec<Case> {
        match self {
            Self::All => {}
            Self::Named(names) => cases.retain(|case| names.is_match(&case.to_string())),
            Self::Sample(seed) => {
                cases.retain(Case::is_brief);
                fastrand::Rng::with_seed(*seed).shuffle(&mut cases);
                cases.truncate(SAMPLE);
            }
        }
        // Those that wait take longest.
        cases.sort_by_key(|case| !case.plan.fault.keeps_waiting());
        cases
    }
}

#[tokio::test]
async fn whatever_fault_the_engine_has_at_whichever_call_nothing_is_lost() {
    let choice = Choice::of_environment();
    if let Choice::Sample(seed) = choice {
        println!("LONGSHORE_FAULTS_SEED={seed} repeats this sample");
    }
    let world = Arc::new(World::make());
    let normal = Arc::new(normal(&world).await);

    let cases = choice.of(normal.iter().flat_map(|(life, normal)| Case::of(*life, &normal.journal)).collect());
    let table = play_all(&world, &normal, cases).await;

    println!("{}", table.show());
    assert_eq!(table.failed(), Vec::<String>::new());
    if let Choice::All = choice {
        assert_eq!(world.left(), Vec::<String>::new(), "this is left in the engine");
    }
}

/// Plays each life without a fault.
async fn normal(world: &Arc<World>) -> BTreeMap<Life, Normal> {
    let mut lives = JoinSet::new();
    for life in Life::ALL {
        let world = world.clone();
        lives.spawn_blocking(move || (life, on_this_thread(play(world, life, None, &Normal::default()))));
    }
    let mut all = BTreeMap::new();
    while let Some(played) = lives.join_next().await {
        let (life, (outcome, normal)) = played.unwrap();
        assert_eq!(outcome.findings, [], "{life} without a fault");
        all.insert(life, normal);
    }
    all
}

async fn play_all(world: &Arc<World>, normal: &Arc<BTreeMap<Life, Normal>>, cases: Vec<Case>) -> Table {
    let (count, begin) = (cases.len(), Instant::now());
    let (mut table, mut waiting, mut playing) = (Table::default(), cases.into_iter().peekable(), JoinSet::new());
    let may_begin =
        |case: &Case, playing: usize| playing < if case.plan.fault.keeps_waiting() { WAITING_AT_ONCE } else { AT_ONCE };
    loop {
        while let Some(case) = waiting.next_if(|case| may_begin(case, playing.len())) {
            let (world, normal) = (world.clone(), normal.clone());
            playing.spawn_blocking(move || {
                let begin = Instant::now();
                let played = || on_this_thread(play(world, case.life, Some(case.plan.clone()), &normal[&case.life]));
                // A life that panics is one case's failure.
                let outcome = match catch_unwind(AssertUnwindSafe(played)) {
                    Ok((outcome, _)) => outcome,
                    Err(panic) => Outcome::of_panic(&*panic, begin.elapsed()),
                };
                (case, outcome)
            });
        }
        let Some(played) = playing.join_next().await else { break };
        let (case, outcome) = played.unwrap();
        println!("{:.0?}: {}", begin.elapsed(), describe(&case, &outcome));
        table.add(case, outcome);
    }
    println!("{count} cases took {:.0?}", begin.elapsed());
    table
}

/// Plays a life on a thread of its own, so that what waits in one delays no other.
fn on_this_thread<T>(life: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(life)
}
