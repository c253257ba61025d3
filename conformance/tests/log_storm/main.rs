//! What a task writes arrives byte for byte while, at random, those on the way die, rest and come back, and files are rotated,
//! emptied or removed. The seed is printed; `LONGSHORE_LOGS_SEED` repeats it. `LONGSHORE_ALL=1` plays all stories, otherwise a
//! sample of them is played.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the seed and the stories are for the reader of the test's output")]

mod contents;
mod story;

use conformance::{Fixture, dockerd::Dockerd, lines::Judgement};
use contents::Content;
use fastrand::Rng;
use story::{Logging, Outcome, Step, Story};

/// A source of randomness with its seed printed.
fn rng(what: &str) -> Rng {
    let given = std::env::var("LONGSHORE_LOGS_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed: u64 = given.unwrap_or_else(|| fastrand::u64(..));
    println!("{what}: LONGSHORE_LOGS_SEED={seed}");
    Rng::with_seed(seed)
}

/// All of them, or a few by chance.
fn sample<T>(mut all: Vec<T>, few: usize, rng: &mut Rng) -> Vec<T> {
    if std::env::var_os("LONGSHORE_ALL").is_none() {
        rng.shuffle(&mut all);
        all.truncate(few);
    }
    all
}

/// Plays a story in five steps of these kinds, and judges it: nothing is torn or doubled, and what is missing is reported.
async fn play(
    (content, logging): (Content, Logging),
    engine: Option<Dockerd>,
    kinds: &[Step],
    rng: &mut Rng,
) -> Outcome {
    let steps: Vec<Step> = (0..5).map(|_| kinds[rng.usize(..kinds.len())]).collect();
    println!("{content:?} {logging:?}: {steps:?}");
    let mut story = Story::begin(content, logging, engine).await;
    for step in &steps {
        story.happens(*step, rng).await;
    }
    let outcome = story.end().await;
    let Outcome { judgement, torn, written, losses, .. } = &outcome;
    println!("{written} lines, {judgement:?}, {losses:?}");
    let is_said = |text: &str| losses.iter().any(|message| message.contains(text));
    // The engine stores a long line in parts. Where a file with some of them is lost, the others arrive.
    let of_parts = if content == Content::Long { losses.len() } else { 0 };
    let whole = torn.len() <= of_parts && judgement.foreign == torn.len() as u64;
    let doubled = judgement.doubled == 0 && judgement.out_of_order == 0;
    assert!(whole && doubled && (judgement.missing == 0 || is_said("lost")), "{steps:?}: {outcome:?}");
    outcome
}

fn pairs(contents: &[Content], loggings: &[Logging]) -> Vec<(Content, Logging)> {
    contents.iter().flat_map(|content| loggings.iter().map(|logging| (*content, *logging))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_arrives_once_and_whole_although_processes_die_or_rest() {
    let mut rng = rng("any may die");
    let mut all = pairs(&Content::ALL, &[Logging::Whole, Logging::Rotated]);
    // With the driver `local`, Docker 20.10 stores no end of a line that is longer than 16 KiB.
    all.extend(pairs(&[Content::Short, Content::Binary, Content::Terminal], &[Logging::Local]));

    for story in sample(all, 2, &mut rng) {
        let outcome = play(story, None, &Step::HARMLESS, &mut rng).await;

        assert_eq!((outcome.judgement, outcome.losses.len()), (Judgement::default(), 0), "{story:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_ends_and_comes_back_takes_no_line() {
    let mut rng = rng("the engine ends");
    let all = pairs(&[Content::Short, Content::Binary, Content::Terminal], &[Logging::Whole, Logging::Local]);

    for story in sample(all, 1, &mut rng) {
        let outcome = play(story, Some(Dockerd::start()), &Step::ENGINE, &mut rng).await;

        assert_eq!(outcome.judgement, Judgement::default(), "{story:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_emptied_removed_or_cut_in_the_engines_files_is_lost_within_bounds_and_reported() {
    let mut rng = rng("files are lost");

    for story in sample(pairs(&[Content::Short, Content::Binary], &[Logging::Rotated]), 1, &mut rng) {
        let kinds = [&Step::HARMFUL[..], &[Step::Driver, Step::Reader]].concat();
        let outcome = play(story, None, &kinds, &mut rng).await;

        assert!(outcome.judgement.missing <= outcome.exposed, "{story:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_do_not_last_lose_lines_within_bounds_and_that_is_reported() {
    let mut rng = rng("files do not last");
    let all = pairs(&[Content::Short, Content::Binary, Content::Long], &[Logging::Compressed, Logging::One]);

    for story in sample(all, 1, &mut rng) {
        let outcome = play(story, None, &Step::HARMLESS, &mut rng).await;

        assert!(outcome.judgement.missing <= outcome.exposed, "{story:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_live_restore_the_log_ends_with_what_the_engine_has() {
    let mut rng = rng("without live-restore");
    let all = pairs(&[Content::Short, Content::Terminal], &[Logging::Whole, Logging::Local]);

    for (content, logging) in sample(all, 1, &mut rng) {
        let (came, has) =
            Story::begin(content, logging, Some(Dockerd::without_live_restore())).await.ended_by_engine().await;

        assert_eq!(came, has, "{content:?} {logging:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_millisecond_has_its_whole_log() {
    let mut rng = rng("a millisecond");
    let fixture = Fixture::start().await;
    let cases = sample(vec![(); 60], 12, &mut rng).len();

    let mut tasks = Vec::new();
    for number in 0..cases {
        let expected = ["one", "one\n", "one\ntwo", "\n", "", "\u{e9}\0\x1b"][rng.usize(..6)];
        let task = fixture.task(&format!("t{number}"), &format!("printf '{}'", expected.replace('\0', "\\000")));
        let logging = [Logging::Whole, Logging::Rotated, Logging::One, Logging::Local][rng.usize(..4)];
        let task = task.option("logging", logging.value(Content::Short));
        let started = fixture.run(&task).await;
        tasks.push((task, started, expected, logging));
    }

    for (task, started, expected, logging) in tasks {
        fixture.driver.wait_task(started.id).await.unwrap();
        let came = task.pipes.stdout.to_the_end();
        assert_eq!(String::from_utf8_lossy(&came), expected, "{logging:?}");
    }
    fixture.end().await;
}
