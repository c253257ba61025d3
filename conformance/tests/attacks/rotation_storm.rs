//! Tasks whose log files are rotated thousands of times a second, and what that takes from others: processors' time at a
//! priority above everybody's, lines of other tasks' logs, and the few events of a task that agents show.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use conformance::{
    Fixture, Task, event_that,
    lines::{Judgement, flood, judge},
    object, text, until,
};
use futures_util::StreamExt;
use nomad_plugin::msgpack::Value;

/// Logs in files of this size, of which there are two.
fn logging(task: Task, max_size: &str) -> Task {
    let config = Value::List(vec![object(&[("max-size", text(max_size)), ("max-file", text("2"))])]);
    task.option("logging", object(&[("type", text("json-file")), ("config", config)]))
}

/// How many hundredths of a second each thread of the driver of this name has run, and with what policy (0 ordinary, 1 FIFO).
fn threads(fixture: &Fixture, name: &str) -> Vec<(u64, u64)> {
    let pid = fixture.driver.reattach_config().pid;
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    let named = stats.filter_map(|stat| {
        let (head, tail) = stat.rsplit_once(')')?;
        head.ends_with(&format!("({name}")).then(|| tail.to_owned())
    });
    // The field after the name is the third.
    let field = |tail: &str, number: usize| tail.split_whitespace().nth(number - 3).unwrap().parse::<u64>().unwrap();
    named.map(|tail| (field(&tail, 14) + field(&tail, 15), field(&tail, 41))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_rotations_is_followed_at_an_ordinary_priority_and_takes_no_line_of_another_task() {
    let fixture = Fixture::start().await;
    let messages = Arc::new(Mutex::new(Vec::new()));
    let mut events = fixture.driver.task_events().await.unwrap();
    let mut all = fixture.driver.task_events().await.unwrap();
    let received = messages.clone();
    let mut listener = tokio::task::JoinSet::new();
    listener.spawn(async move {
        while let Some(Ok(event)) = all.next().await {
            received.lock().unwrap().push((event.task_name, event.message));
        }
    });
    let storm = logging(fixture.task("storm", "exec yes a line of a flood that nobody wants to read"), "1k");
    // A file of this one has its time on the disk, and a few are rotated in a second.
    let other = logging(fixture.task("other", &flood("o", 40_000, 60)), "1m");

    fixture.run(&storm).await;
    let event =
        event_that(&mut events, "too often", |event| event.message.contains("thousands of times a second")).await;
    let prompt = || threads(&fixture, "log-opener")[0];
    let patient = || threads(&fixture, "log-opener-slow").first().copied().unwrap_or_default();
    let before = (prompt().0, patient().0);
    let started = fixture.run(&other).await;
    fixture.driver.wait_task(started.id).await.unwrap();
    until("the second thread works", || patient().0 > before.1 + 100).await;

    assert_eq!(event.task_name, "storm");
    assert_eq!(patient().1, 0, "the second thread has an ordinary priority");
    let share = (prompt().0 - before.0, patient().0 - before.1);
    assert!(share.0 * 5 < share.1, "the first thread still takes {share:?}");
    assert_eq!(judge(&other.pipes.stdout.to_the_end(), "o", 40_000), Judgement::default());
    let messages = messages.lock().unwrap().clone();
    let kinds = messages.iter().filter(|(task, _)| task == "storm");
    let lost = kinds.filter(|(_, message)| message.contains("away unread")).count();
    assert!(lost <= 4, "{lost} events of the same kind: {messages:?}");
    assert!(messages.iter().all(|(task, _)| task != "other"), "{messages:?}");
    fixture.end().await;
}
