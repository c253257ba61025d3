//! Log collection from an engine's streams that fall silent, trickle or fail, after the container has exited.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use conformance::{holder::holders, pipes::Pipes};
use futures_util::{StreamExt, future::LocalBoxFuture, stream};
use logs::{Collector, Frame, FrameError, FrameStream, LogReport, LogSink, LogSummary, LogTask, Since, Stream};
use tokio::time::{Instant, interval_at};
use wait::until;

/// A container's log on its way from an engine's streams to a file.
struct Container {
    directory: tempfile::TempDir,
    collector: Collector,
    reports: Arc<Mutex<Vec<LogReport>>>,
    /// How many streams were opened.
    opened: Arc<AtomicUsize>,
}

/// What one stream sends.
type Sent = Vec<Item>;

#[derive(Clone, Debug)]
enum Item {
    /// A line of standard output, written at this nanosecond.
    Line(u64, &'static str),
    /// This many bytes of a piece, one each 100 ms.
    Trickle(usize),
    /// The connection breaks.
    Break,
    /// Nothing, without an end.
    Silence,
}

use Item::{Break, Line, Silence, Trickle};

impl Container {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let collector = Collector::start(&directory.path().join("state")).unwrap();
        Self { directory, collector, reports: Arc::default(), opened: Arc::default() }
    }

    fn written(&self) -> PathBuf {
        self.directory.path().join("stdout")
    }

    fn file(&self) -> LogSink {
        fs::write(self.written(), "").unwrap();
        LogSink { alloc_dir: self.directory.path().to_owned(), stdout: self.written(), stderr: "/dev/null".into() }
    }

    /// Collects from streams that send this, one after the other; those after the last send what that sent. From then on time
    /// is paused: it moves when all wait for it.
    async fn follow(&self, sink: LogSink, streams: Vec<Sent>) -> LogTask {
        let ends = self.collector.open_new(&sink, "c1").await.unwrap();
        tokio::time::pause();
        let (opened, reports) = (self.opened.clone(), self.reports.clone());
        let open = move |_since: Option<u64>| {
            let number = opened.fetch_add(1, Ordering::SeqCst);
            sent(streams[number.min(streams.len() - 1)].clone())
        };
        let report = move |report| reports.lock().unwrap().push(report);
        self.collector.follow_engine(Since::Beginning, open, ends, &sink, report).await.unwrap()
    }

    /// The end of a container whose streams send this: how it ended, after how long.
    async fn ended(&self, streams: Vec<Sent>) -> (LogSummary, Duration) {
        let task = self.follow(self.file(), streams).await;
        let began = Instant::now();
        let ended = (task.finish().await, began.elapsed());
        tokio::time::resume();
        ended
    }

    fn came(&self) -> String {
        fs::read_to_string(self.written()).unwrap()
    }

    fn texts(&self) -> Vec<String> {
        self.reports().iter().map(ToString::to_string).collect()
    }

    fn reports(&self) -> Vec<LogReport> {
        self.reports.lock().unwrap().clone()
    }
}

fn silent(seconds: u64) -> String {
    format!("the end of the log is not collected: nothing whole of it came from the engine for {seconds} s")
}

fn sent(items: Sent) -> FrameStream {
    let item = |item| match item {
        Line(at, text) => {
            let frame = Frame { stream: Stream::Stdout, at, bytes: Bytes::from(text) };
            stream::iter([Ok(Some(frame))]).boxed()
        }
        Trickle(bytes) => {
            let pace = Duration::from_millis(100);
            let ticks = stream::unfold(interval_at(Instant::now() + pace, pace), |mut ticks| async move {
                ticks.tick().await;
                Some((Ok(None), ticks))
            });
            ticks.take(bytes).boxed()
        }
        Break => stream::iter([Err(FrameError::Interrupted("broken".to_owned()))]).boxed(),
        Silence => stream::pending().boxed(),
    };
    stream::iter(items).flat_map(item).boxed()
}

#[tokio::test]
async fn a_log_that_trickles_is_collected_to_its_end() {
    let container = Container::new();

    let trickled = vec![Trickle(300), Line(1, "one\n"), Trickle(300), Line(2, "two\n")];
    let (summary, took) = container.ended(vec![trickled]).await;

    assert_eq!((container.came().as_str(), container.reports()), ("one\ntwo\n", vec![]));
    assert!(summary.complete && took >= Duration::from_secs(60), "{summary:?} after {took:?}");
}

#[tokio::test]
async fn an_engine_that_is_silent_at_the_end_of_a_log_is_asked_again_and_then_given_up_as_what_it_is() {
    for begin in [vec![Silence], vec![Line(1, "one\n"), Silence], vec![Break], vec![Trickle(1), Silence]] {
        let container = Container::new();

        let (summary, took) = container.ended(vec![begin.clone(), vec![Silence]]).await;

        assert!(!summary.complete, "{begin:?}");
        assert_eq!(container.texts(), [silent(10)], "{begin:?}");
        assert!(took < Duration::from_secs(15), "{begin:?}: {took:?}");
        assert!(container.opened.load(Ordering::SeqCst) >= 3, "{begin:?}");
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_opened_again_and_the_rest_comes_once() {
    for begin in [vec![Silence], vec![Line(1, "one\n"), Silence], vec![Line(1, "one\n"), Trickle(20), Silence]] {
        let container = Container::new();

        let (summary, _) = container.ended(vec![begin.clone(), vec![Line(1, "one\n"), Line(2, "two\n")]]).await;

        assert_eq!((container.came().as_str(), container.reports()), ("one\ntwo\n", vec![]), "{begin:?}");
        assert!(summary.complete, "{begin:?}");
    }
}

#[tokio::test]
async fn a_piece_that_never_becomes_whole_is_given_up_after_a_minute() {
    let container = Container::new();

    let (summary, took) = container.ended(vec![vec![Line(1, "one\n"), Trickle(100_000)]]).await;

    assert_eq!(container.texts(), [silent(60)]);
    assert!(!summary.complete && took < Duration::from_secs(65), "{summary:?} after {took:?}");
    assert_eq!(container.came(), "one\n");
}

#[tokio::test]
async fn an_outage_before_the_exit_shortens_nothing_after_it() {
    let container = Container::new();
    let outage = vec![vec![Break]; 12];
    let streams = [outage, vec![vec![Break], vec![Line(1, "one\n")]]].concat();

    let task = container.follow(container.file(), streams).await;
    let opened = container.opened.clone();
    while opened.load(Ordering::SeqCst) < 12 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let summary = task.finish().await;

    assert_eq!((container.came().as_str(), container.reports()), ("one\n", vec![]));
    assert!(summary.complete);
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_blamed_and_the_engine_is_not() {
    let container = Container::new();
    let pipes = Pipes::make(container.directory.path(), "web");
    pipes.stdout.end();
    let sink = LogSink {
        alloc_dir: container.directory.path().to_owned(),
        stdout: pipes.stdout_path.clone(),
        stderr: "/dev/null".into(),
    };
    // More than the pipe holds.
    let long: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());

    let task = container.follow(sink, vec![vec![Line(1, long), Silence]]).await;
    let summary = task.finish().await;

    assert!(!summary.complete);
    let reports = container.reports();
    assert!(matches!(reports.last(), Some(LogReport::ReaderAway { .. })), "{reports:?}");
    assert!(!reports.iter().any(|report| matches!(report, LogReport::EngineSilent { .. })), "{reports:?}");
}

#[test]
fn what_was_read_of_a_pipe_that_was_removed_is_looked_up_in_the_readers_files() {
    let directory = tempfile::tempdir().unwrap();
    let (at, state) = (|name: &str| directory.path().join(name), directory.path().join("state"));
    let pipes = Pipes::make(directory.path(), "web");
    let sink = LogSink {
        alloc_dir: directory.path().to_owned(),
        stdout: pipes.stdout_path.clone(),
        stderr: "/dev/null".into(),
    };
    let process = |work: &dyn Fn(Collector) -> LocalBoxFuture<'static, ()>| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { work(Collector::start(&state).unwrap()).await });
    };
    let all = || vec![Line(1, "one\n"), Line(2, "two\n"), Line(2, "three\n")];

    // The reader leaves behind the first line; the others are in the pipe.
    let left = Arc::new(tokio::sync::Notify::new());
    process(&|collector| {
        let (sink, left, stdout) = (sink.clone(), left.clone(), pipes.stdout.clone());
        Box::pin(async move {
            let ends = collector.open_new(&sink, "c1").await.unwrap();
            let when = left.clone();
            let open = move |_since: Option<u64>| {
                let when = when.clone();
                let behind =
                    stream::once(async move { when.notified().await }).flat_map(move |()| sent(all()[1..].into()));
                sent(all()[..1].into()).chain(behind).chain(sent(vec![Silence])).boxed()
            };
            let _left = collector.follow_engine(Since::Beginning, open, ends, &sink, |_| {}).await.unwrap();
            stdout.wait_for_text("one\n");
            stdout.end();
            left.notify_one();
            let pipe = fs::File::options().read(true).write(true).open(&sink.stdout).unwrap();
            until("they are in the pipe", || rustix::io::ioctl_fionread(&pipe).unwrap() == 10).await;
        })
    });
    let holder: [i32; 1] = holders(&state).try_into().unwrap();
    conformance::kill(holder);
    // The reader had read some of them before it died.
    let mut copy = fs::OpenOptions::new().append(true).open(at("web.stdout.0")).unwrap();
    copy.write_all(b"two\nth").unwrap();
    pipes.stdout.read();
    let reports = Arc::<Mutex<Vec<LogReport>>>::default();
    process(&|collector| {
        let (sink, stdout, reports) = (sink.clone(), pipes.stdout.clone(), reports.clone());
        Box::pin(async move {
            let ends = collector.open(&sink, "c1").await.unwrap();
            let open = move |_since: Option<u64>| sent([all(), vec![Line(3, "four\n")]].concat());
            let report = move |report| reports.lock().unwrap().push(report);
            let task = collector.follow_engine(Since::Position, open, ends, &sink, report).await.unwrap();
            stdout.wait_for_text("four\n");
            task.finish().await;
        })
    });

    assert_eq!((pipes.stdout.text().as_str(), reports.lock().unwrap().as_slice()), ("one\nree\nfour\n", &[][..]));
}
