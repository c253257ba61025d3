//! A log is collected, each line once, whatever becomes of the record of its position.

use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, SystemTime},
};

use logs::LogReport;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use wait::until;

use crate::container::{Container, ID, ended_process, expected, numbered};

impl Container {
    fn record(&self) -> std::path::PathBuf {
        self.path(&format!("state/logs/{ID}.json"))
    }

    /// What an earlier process collected: lines up to this one, all of which are read and recorded.
    fn collected(&self, lines: u32) {
        self.write(numbered(0..lines));
        ended_process(async {
            let collector = self.collector();
            let _left = self.watch(&collector).await;
            self.read_until(&format!("line {}\n", lines - 1));
            let written = fs::metadata(self.log()).unwrap().len();
            let recorded = format!("\"offset\":{written},\"delivered\":[0,0]");
            until("the record", || {
                let record = fs::read_to_string(self.record()).unwrap_or_default();
                record.contains(&recorded) && !record.contains("unread") && !record.contains("next")
            })
            .await;
        });
    }

    /// Another process collects what is written since.
    fn resumed(&self, lines: std::ops::Range<u32>) {
        self.write(numbered(lines.clone()));
        self.finished_by_successor(lines.end - 1);
    }
}

/// What is in the record's place.
type Mishap = fn(&Path);

#[test]
fn whatever_became_of_the_record_the_readers_own_files_show_where_to_continue() {
    let mishaps: [(&str, Mishap); 9] = [
        ("removed", |record| fs::remove_file(record).unwrap()),
        ("its directory removed", |record| fs::remove_dir_all(record.parent().unwrap()).unwrap()),
        ("empty", |record| fs::write(record, "").unwrap()),
        ("half", |record| File::options().write(true).open(record).unwrap().set_len(40).unwrap()),
        ("garbage", |record| fs::write(record, [0xff; 1024]).unwrap()),
        ("of another container", |record| {
            let other = fs::read_to_string(record).unwrap().replace(ID, "9999abcd");
            fs::write(record, other).unwrap();
        }),
        ("a directory", |record| {
            fs::remove_file(record).unwrap();
            fs::create_dir(record).unwrap();
        }),
        ("a pipe", |record| {
            fs::remove_file(record).unwrap();
            mknodat(CWD, record, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }),
        ("a link", |record| {
            fs::rename(record, record.with_extension("other")).unwrap();
            symlink(record.with_extension("other"), record).unwrap();
        }),
    ];
    for (what, mishap) in mishaps {
        let container = Container::new();
        container.collected(10);

        mishap(&container.record());
        container.resumed(10..20);

        assert_eq!(container.came(), expected(0..20), "{what}");
        let is_foreign = ["a directory", "a pipe", "a link"].contains(&what);
        let reports = container.reports();
        assert_eq!(reports.len(), usize::from(is_foreign), "{what}: {reports:?}");
        assert!(reports.iter().all(|report| matches!(report, LogReport::NotRecorded { .. })), "{what}: {reports:?}");
    }
}

#[test]
fn a_record_that_could_not_be_kept_up_repeats_nothing_that_arrived() {
    let container = Container::new();
    container.collected(10);
    container.outdate_the_record_by(10..20);

    container.resumed(20..30);

    assert_eq!((container.came(), container.reports()), (expected(0..30), vec![]));
}

#[test]
fn lines_behind_an_old_record_are_repeated_and_that_is_reported_where_nothing_shows_what_arrived() {
    let container = Container::new();
    container.collected(10);
    container.outdate_the_record_by(10..20);
    fs::remove_file(container.path("web.stdout.0")).unwrap();

    container.resumed(20..30);

    assert_eq!(container.came(), expected(0..20) + &expected(10..30));
    let reports = container.reports();
    assert!(matches!(reports[..], [LogReport::RecordLate { by }] if by > Duration::from_secs(60)), "{reports:?}");
}

impl Container {
    /// Collects lines as a process does that cannot record them: an hour later, the record is as it was.
    fn outdate_the_record_by(&self, lines: std::ops::Range<u32>) {
        let before = fs::read(self.record()).unwrap();
        self.write(numbered(lines.clone()));
        ended_process(async {
            let collector = self.collector();
            let _left = self.resume(&collector).await;
            self.read_until(&format!("line {}\n", lines.end - 1));
        });
        let record = File::options().write(true).truncate(true).open(self.record()).unwrap();
        std::io::Write::write_all(&mut &record, &before).unwrap();
        let hour = Duration::from_secs(3600);
        record.set_times(FileTimes::new().set_modified(SystemTime::now() - hour)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_recorded_is_collected_and_recorded_as_soon_as_it_can_be() {
    let container = Container::new();
    fs::create_dir(container.path("state")).unwrap();
    fs::write(container.path("state/logs"), "no directory").unwrap();
    let collector = container.collector();
    let task = container.watch(&collector).await;
    container.write(numbered(0..10));
    container.read_until("line 9\n");
    let before = container.reports();

    fs::remove_file(container.path("state/logs")).unwrap();
    // Without another line.
    let recorded = || fs::read_to_string(container.record()).is_ok_and(|record| record.contains(ID));
    until("the record", recorded).await;
    // The same while it writes.
    fs::remove_dir_all(container.path("state/logs")).unwrap();
    let mut lines = 10..;
    until("another record", || {
        let line = lines.next().unwrap();
        container.write(numbered(line..line + 1));
        recorded()
    })
    .await;
    task.finish().await;

    let reports = container.reports();
    assert!(matches!(before[..], [LogReport::NotRecorded { .. }]), "{before:?}");
    assert_eq!(reports, before, "it is reported once");
    assert_eq!(container.came(), expected(0..lines.start));
}
