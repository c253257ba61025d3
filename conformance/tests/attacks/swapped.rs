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

use conformance::{Fixture, docker::containers_of, object, text, texts};
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
