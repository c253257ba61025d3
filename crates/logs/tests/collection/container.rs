//! An engine's directory for one container, and a host's pipes.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use conformance::pipes::Pipes;
use logs::{Collector, Ends, LogReport, LogSink, LogSummary, LogTask, StartFrom};

pub(crate) const ID: &str = "0123abcd";

/// An engine's directory for one container, and a host's pipes.
pub(crate) struct Container {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) pipes: Pipes,
    reports: Arc<Mutex<Vec<LogReport>>>,
}

impl Container {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pipes = Pipes::make(directory.path(), "web");
        Self { directory, pipes, reports: Arc::default() }
    }

    /// A collector of a driver whose state is next to the container.
    pub(crate) fn collector(&self) -> Collector {
        Collector::start(&self.path("state")).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path(&format!("{ID}-json.log"))
    }

    pub(crate) fn write(&self, lines: impl IntoIterator<Item = String>) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.log()).unwrap();
        let text: String = lines.into_iter().map(|line| object(&line)).collect();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// As an engine with `max-file = 2` does it.
    pub(crate) fn rotate(&self) {
        fs::rename(self.log(), self.path(&format!("{ID}-json.log.1"))).unwrap();
        File::create(self.log()).unwrap();
    }

    pub(crate) fn sink(&self) -> LogSink {
        let Pipes { stdout_path, stderr_path, .. } = &self.pipes;
        let alloc_dir = self.directory.path().to_owned();
        LogSink { alloc_dir, stdout: stdout_path.clone(), stderr: stderr_path.clone() }
    }

    pub(crate) async fn follow(&self, collector: &Collector, begin: StartFrom) -> LogTask {
        let ends = match begin {
            StartFrom::New => collector.open_new(&self.sink(), ID).await,
            StartFrom::Adopted | StartFrom::HandedOver(_) => collector.open(&self.sink(), ID).await,
        };
        self.follow_with(collector, ends.unwrap(), begin).await
    }

    pub(crate) async fn follow_with(&self, collector: &Collector, ends: Ends, begin: StartFrom) -> LogTask {
        collector.follow(self.directory.path(), ends, &self.sink(), self.report(), begin).await.unwrap()
    }

    pub(crate) async fn watch(&self, collector: &Collector) -> LogTask {
        self.follow(collector, StartFrom::New).await
    }

    pub(crate) async fn resume(&self, collector: &Collector) -> LogTask {
        self.follow(collector, StartFrom::Adopted).await
    }

    /// The next process of the driver: it continues until a line has arrived, and to the end of the log.
    pub(crate) fn finished_by_successor(&self, last: u32) -> LogSummary {
        ended_process(async {
            let collector = self.collector();
            let task = self.resume(&collector).await;
            self.read_until(&format!("line {last}\n"));
            task.finish().await
        })
    }

    pub(crate) fn report(&self) -> impl Fn(LogReport) + Send + Sync + 'static {
        let reports = self.reports.clone();
        move |report| reports.lock().unwrap().push(report)
    }

    pub(crate) fn reports(&self) -> Vec<LogReport> {
        self.reports.lock().unwrap().clone()
    }

    /// Waits until a text has arrived through the standard output pipe.
    pub(crate) fn read_until(&self, text: &str) {
        self.pipes.stdout.wait_for_text(text);
    }

    /// What arrived through it.
    pub(crate) fn came(&self) -> String {
        self.pipes.stdout.text()
    }
}

pub(crate) fn object(line: &str) -> String {
    format!("{{\"log\":\"{line}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.678Z\"}}\n")
}

pub(crate) fn numbered(numbers: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    numbers.map(|number| format!("line {number}"))
}

pub(crate) fn expected(numbers: std::ops::Range<u32>) -> String {
    numbered(numbers).map(|line| line + "\n").collect()
}

/// The lifetime of a process: when this returns, none of the runtime's work is running. Dropping a collection alone only asks
/// it to stop.
pub(crate) fn ended_process<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}
