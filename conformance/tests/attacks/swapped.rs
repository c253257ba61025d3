//! A task of a group swaps links in where another one mounts.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use conformance::{
    Fixture, Task,
    docker::{containers_of, inspect},
    object, text, texts,
    user::User,
};
use nomad_plugin::{driver::Force, msgpack::Value};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How often the other task starts: the second look alone lost four of four races in less than a second.
const STARTS: usize = 30;

/// Swaps two names as a task can in its own view of a directory, as fast as it can, for as long as this lives.
struct Swapping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapping {
    fn begin(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

#[tokio::test]
async fn a_directory_that_is_swapped_for_a_link_all_the_time_never_shows_what_is_outside() {
    let fixture = Fixture::start().await;
    let first = fixture.task("first", "exec sleep 1000");
    fixture.run(&first).await;
    let victim = fixture.directory().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("secret"), "theirs").unwrap();
    let data = first.alloc_dir().join("alloc/data");
    fs::create_dir(data.join("p")).unwrap();
    fs::write(data.join("p/own"), "ours").unwrap();
    symlink(&victim, data.join("l")).unwrap();
    let mount = object(&[("type", text("bind")), ("source", text("../alloc/data/p")), ("target", text("/m"))]);

    let swapping = Swapping::begin(data.join("p"), data.join("l"));
    let mut seen = Vec::new();
    for round in 0..STARTS {
        let script = "ls /p /m; touch /p/written /m/written; sleep 0.1; ls /p /m";
        let task = fixture.task_beside(&first, &format!("second-{round}"), script);
        let task =
            task.option("volumes", texts(&["../alloc/data/p:/p"])).option("mount", Value::List(vec![mount.clone()]));
        match fixture.attempt(&task).await {
            Ok(started) => {
                fixture.driver.wait_task(started.id.clone()).await.unwrap();
                fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
                seen.push(task.pipes.stdout.text());
            }
            Err(error) => assert!(error.to_string().contains("cannot mount host path"), "{error}"),
        }
    }
    drop(swapping);

    assert!(!seen.iter().any(|seen| seen.contains("secret")), "{seen:?}");
    assert!(seen.iter().any(|seen| seen.contains("own")), "nothing started: {seen:?}");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "the host's directory was written to");
    assert_eq!(containers_of(fixture.directory()), [first.container()]);
    fixture.end().await;
}

#[tokio::test]
async fn what_a_running_task_can_swap_is_refused_where_nothing_can_be_mounted() {
    let fixture = Fixture::as_user(User::of_group_docker(), &[]).await;
    let first = fixture.task("first", "exec sleep 1000");
    let started = fixture.run(&first).await;
    fs::create_dir(first.alloc_dir().join("alloc/data/p")).unwrap();
    let second = |name: &str, source: &str| {
        let task = fixture.task_beside(&first, name, "ls -d /p; exec sleep 1000");
        task.option("volumes", texts(&[&format!("{source}:/p")]))
    };

    for (name, source) in [("one", "../alloc/data/p"), ("two", "../first/local/x"), ("three", "../alloc/tmp/not-yet")] {
        let rejection = fixture.refused(&second(name, source)).await;
        let words = "a running task of the allocation can change what is there";
        let words = format!("volumes are not enabled; cannot mount host path: \"{source}:/p\": {words}");
        assert!(rejection.message.ends_with(&words), "{rejection}");
    }
    // Nobody can put something in the place of what it has mounted itself.
    fixture.run(&second("four", "../alloc/data")).await;
    fixture.run(&second("five", "local")).await;
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
    assert_eq!(containers_of(fixture.directory()).len(), 2);
    fixture.end().await;
}

#[tokio::test]
async fn tasks_of_a_group_that_start_at_once_do_not_race_where_nothing_can_be_mounted() {
    let fixture = Fixture::as_user(User::of_group_docker(), &[]).await;
    let first = fixture.task("first", "exec sleep 1000");
    fs::create_dir(first.alloc_dir().join("alloc/data/p")).unwrap();
    let second = fixture.task_beside(&first, "second", "exec sleep 1000");
    let second = second.option("volumes", texts(&["../alloc/data/p:/p"]));

    let (first_ran, second_ran) = tokio::join!(fixture.attempt(&first), fixture.attempt(&second));

    assert!(first_ran.is_ok());
    // The second one started before the first, or not at all.
    if second_ran.is_ok() {
        let started = |task: &Task| inspect(&task.container())["State"]["StartedAt"].as_str().unwrap().to_owned();
        assert!(started(&second) < started(&first));
    }
    fixture.end().await;
}
