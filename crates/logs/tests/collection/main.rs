//! Log collection from files that are written, rotated and truncated as an engine does it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod container;
mod records;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    time::Duration,
};

use conformance::holder::holders;
use container::{Container, ID, ended_process, expected, numbered, object};
use logs::{Arrived, Bound, Collector, LogReport, LogTask, StartFrom};
use wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn rotated_files_are_read_in_order_to_the_last_line() {
    let container = Container::new();
    let collector = container.collector();
    let task = container.watch(&collector).await;

    for part in 0..20 {
        container.write(numbered(part * 100..part * 100 + 100));
        container.read_until(&format!("line {}\n", part * 100));
        container.rotate();
    }
    container.write(numbered(2000..2010));
    let summary = task.finish().await;
    container.read_until("line 2009\n");

    assert_eq!(container.came(), expected(0..2010));
    assert!(summary.complete && summary.lost_files == 0, "{summary:?}");
    assert_eq!(container.reports(), []);
}

#[test]
fn a_successor_continues_with_the_very_next_line() {
    let container = Container::new();
    container.write(numbered(0..1000));
    ended_process(async {
        let collector = container.collector();
        let _stopped_somewhere = container.watch(&collector).await;
        container.read_until("line 10\n");
    });
    container.write(numbered(1000..1100));
    container.rotate();
    container.write(numbered(1100..1200));

    assert!(container.finished_by_successor(1199).complete);

    assert_eq!(container.came(), expected(0..1200));
    assert_eq!(container.reports(), []);
}

#[test]
fn a_successor_whose_file_was_removed_says_so_and_continues_with_what_is_there() {
    let container = Container::new();
    container.write(numbered(0..10));
    ended_process(async {
        let collector = container.collector();
        let _stopped = container.watch(&collector).await;
        container.read_until("line 9\n");
        until("the position", || {
            fs::read_to_string(container.path(&format!("state/logs/{ID}.json"))).unwrap().contains("\"first\":[")
        })
        .await;
    });
    for part in 0..3 {
        container.rotate();
        container.write(numbered(part * 10 + 10..part * 10 + 20));
    }

    container.finished_by_successor(39);

    assert_eq!(container.came(), expected(0..10) + &expected(20..40));
    assert_eq!(container.reports(), [LogReport::PositionLost]);
}

#[test]
fn what_was_read_of_a_pipe_that_was_removed_is_looked_up_in_the_readers_files() {
    read_of_a_removed_pipe(0);
}

#[test]
fn the_same_is_found_far_before_the_end_of_a_log_that_has_grown_meanwhile() {
    read_of_a_removed_pipe(20 << 20);
}

/// A pipe is removed of which some was read; then the engine's file grows by this many bytes.
fn read_of_a_removed_pipe(growth: usize) {
    let container = Container::new();
    container.write(numbered(0..10));
    ended_process(async {
        let collector = container.collector();
        let _stopped = container.watch(&collector).await;
        container.read_until("line 9\n");
        // In one piece: the next place in the file is after it.
        container.pipes.stdout.end();
        container.write(numbered(10..31));
        let written = fs::metadata(container.path(&format!("{ID}-json.log"))).unwrap().len();
        until("they are written", || {
            let record = fs::read_to_string(container.path(&format!("state/logs/{ID}.json"))).unwrap();
            record.contains(&format!("\"offset\":{written},")) && record.contains("unread")
        })
        .await;
    });
    let holder: [i32; 1] = holders(&container.path("state")).try_into().expect("one log holder");
    conformance::kill(holder);

    // The reader had read some of it before it died.
    let copy = container.path("web.stdout.0");
    let mut copied = OpenOptions::new().append(true).open(copy).unwrap();
    copied.write_all(expected(10..13).as_bytes()).unwrap();
    container.pipes.stdout.read();
    let nothing = format!("{{\"log\":\"\",\"stream\":\"stdout\",\"time\":\"{}\"}}\n", "x".repeat(64 << 10));
    let mut log = OpenOptions::new().append(true).open(container.log()).unwrap();
    for _ in 0..growth / nothing.len() {
        log.write_all(nothing.as_bytes()).unwrap();
    }
    container.write(numbered(31..32));
    container.finished_by_successor(31);

    assert_eq!(container.came(), expected(0..10) + &expected(13..32));
    assert_eq!(container.reports(), []);
}

/// Resumes a log of which this much has arrived at the host.
async fn hand_over(container: &Container, collector: &Collector, arrived: &str) -> LogTask {
    fs::write(container.path("web.stdout.0"), arrived).unwrap();
    let ends = collector.open(&container.sink(), ID).await.unwrap();
    let arrived = Arrived::at(&container.sink()).await;
    container.follow_with(collector, ends, StartFrom::HandedOver(arrived)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_another_program_forwarded_continues_in_the_midst_of_the_line_where_that_left_off() {
    let container = Container::new();
    let collector = container.collector();
    container.write(numbered(0..100));
    container.rotate();
    container.write(numbered(100..200));

    let forwarded = format!("an earlier life\n{}line 1", expected(0..150));
    let task = hand_over(&container, &collector, &forwarded).await;
    container.read_until("line 199\n");
    assert!(task.finish().await.complete);

    assert_eq!(container.came(), format!("50\n{}", expected(151..200)));
    assert_eq!(container.reports(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_which_nothing_arrived_is_collected_from_its_first_line() {
    let container = Container::new();
    let collector = container.collector();
    container.write(numbered(0..10));

    let task = hand_over(&container, &collector, "").await;
    container.read_until("line 9\n");
    task.finish().await;

    assert_eq!(container.came(), expected(0..10));
    assert_eq!(container.reports(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_which_who_knows_what_arrived_continues_at_its_end_and_says_so() {
    let container = Container::new();
    let collector = container.collector();
    container.write(numbered(0..10));

    let task = hand_over(&container, &collector, "something that this container never wrote\n").await;
    container.write(numbered(10..20));
    container.read_until("line 19\n");
    task.finish().await;

    assert_eq!(container.came(), expected(10..20));
    assert_eq!(container.reports(), [LogReport::PositionUnknown]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_emptied_in_place_is_reported_and_read_from_its_start() {
    let container = Container::new();
    let collector = container.collector();
    let task = container.watch(&collector).await;
    container.write(numbered(0..100));
    container.read_until("line 99\n");

    OpenOptions::new().write(true).truncate(true).open(container.log()).unwrap();
    container.write(numbered(100..110));
    container.read_until("line 109\n");
    task.finish().await;

    assert_eq!(container.came(), expected(0..110));
    assert_eq!(container.reports(), [LogReport::Truncated]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_a_reader_that_is_away_has_a_bound() {
    let container = Container::new();
    container.pipes.stdout.end();
    let collector = container.collector().with_bound(Bound { files: 3, bytes: 1 << 30 });
    let task = container.watch(&collector).await;
    // More than the pipe holds, so that the first file is stuck.
    container.write(numbered(0..20_000));
    let held = |count: u32| {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let ours =
            open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(container.directory.path())));
        ours.filter(|fd| fs::read_link(fd.path()).unwrap().to_string_lossy().contains("json.log")).count()
            >= count as usize
    };
    until("the first file", || held(1)).await;
    for part in 0..8 {
        container.rotate();
        container.write(numbered(part..part + 1));
        let opened = container.log();
        until("the next file", || is_open(&opened)).await;
    }

    let summary = task.with_patience(Duration::from_millis(200)).finish().await;

    assert!(!summary.complete, "{summary:?}");
    let reports = container.reports();
    assert!(matches!(reports.last(), Some(LogReport::ReaderAway { .. })), "{reports:?}");
    container.pipes.stdout.read();
    let collector = container.collector();
    let task = container.resume(&collector).await;
    container.read_until("line 7\n");
    task.finish().await;
    assert!(container.came().starts_with("line 0\nline 1\n"), "what was in the pipe is kept");
}

/// Whether this process has a file open.
fn is_open(path: &Path) -> bool {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to == path)
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_line_of_a_dead_engine_is_reported_and_the_next_one_is_whole() {
    let container = Container::new();
    let collector = container.collector();
    let task = container.watch(&collector).await;
    container.write(["one".to_owned()]);
    container.read_until("one\n");

    let mut file = OpenOptions::new().append(true).open(container.log()).unwrap();
    file.write_all(format!("{{\"log\":\"tw{}", object("three")).as_bytes()).unwrap();
    container.read_until("three\n");
    task.finish().await;

    assert_eq!(container.came(), "one\nthree\n");
    assert_eq!(container.reports(), [LogReport::CutLine]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_an_error_that_names_it() {
    let container = Container::new();
    let collector = container.collector();
    let ends = collector.open_new(&container.sink(), ID).await.unwrap();

    let directory = Path::new("/no/such/directory");
    let followed = collector.follow(directory, ends, &container.sink(), |_| {}, StartFrom::New).await;

    let error = followed.err().unwrap();

    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with("failed to watch `/no/such/directory`: "), "{error}");
}
