//! Tasks in plenty whose images are not there: what the registry is asked, how long it takes, and the driver's memory.
//!
//! 50 tasks of one image and 20 tasks of an image each start at once. The time until the last image is there stands beside
//! the slowest of the 21 images pulled alone by the bare engine.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bench::{post, pss, row};
use conformance::{
    Fixture, Task,
    docker::docker,
    faulty_registry::{Fault, FaultyRegistry},
    registry::{Access, Registry},
    text,
};
use futures_util::future::join_all;
use tokio::time::Instant;

const TASKS_OF_ONE_IMAGE: usize = 50;
const IMAGES: usize = 20;
/// Of the layer that makes each image.
const BYTES: usize = 4 << 20;

#[tokio::main]
async fn main() {
    let mut registry = Registry::start(Access::Anonymous);
    let proxy = FaultyRegistry::start(&registry, |_| Fault::None);
    let mut push = |name: String| {
        let pushed = registry.push_with_layer(&name, BYTES);
        registry.also(proxy.name(&pushed))
    };
    let one = push("one:1".to_owned());
    let each: Vec<String> = (0..IMAGES).map(|number| push(format!("each-{number}:1"))).collect();
    let slowest = each.iter().chain([&one]).map(|image| by_hand(image)).max().unwrap_or_default();
    let asked = |name: &str| proxy.count(&["GET", name, "/manifests/"]);
    let (one_before, each_before) = (asked("/one/"), asked("/each-"));

    let fixture = Fixture::start().await;
    let pid = fixture.driver.reattach_config().pid.to_string();
    let images: Vec<&String> = std::iter::repeat_n(&one, TASKS_OF_ONE_IMAGE).chain(&each).collect();
    let begin = pss(&pid);
    let over = Arc::new(AtomicBool::default());
    let watch = {
        let (pid, over) = (pid.clone(), over.clone());
        thread::spawn(move || {
            let mut most = 0_f64;
            while !over.load(Ordering::SeqCst) {
                most = most.max(pss(&pid));
                #[expect(clippy::disallowed_methods, reason = "it measures at a pace, and waits for nothing")]
                thread::sleep(Duration::from_millis(20));
            }
            most
        })
    };
    let tasks: Vec<Task> = images
        .iter()
        .enumerate()
        .map(|(number, image)| fixture.task(&format!("t{number}"), "exec sleep 1000").option("image", text(image)))
        .collect();
    let pulled = pulls(IMAGES + 1, proxy.address.clone());
    let started = Instant::now();
    join_all(tasks.iter().map(|task| fixture.run(task))).await;
    let running = started.elapsed();
    let pulled = pulled.join().map_or(f64::NAN, |last| (last - started).as_secs_f64());
    over.store(true, Ordering::SeqCst);
    let most = watch.join().unwrap_or_default();
    let (of_one, of_each) = (asked("/one/") - one_before, asked("/each-") - each_before);
    fixture.end().await;

    let slowest = slowest.as_secs_f64();
    row(&format!("{TASKS_OF_ONE_IMAGE} tasks of one image and {IMAGES} of an image each, at once"), "figure");
    row("---", "---");
    row("manifests asked of the registry: of the one image, of the others", &format!("{of_one}, {of_each}"));
    row("slowest of these images pulled alone by the bare engine (s)", &format!("{slowest:.2}"));
    row("until the last image is there (s), over the slowest pull", &format!("{pulled:.1}, {:.1}", pulled / slowest));
    row("until all tasks run (s)", &format!("{:.1}", running.as_secs_f64()));
    row("memory (PSS) of the driver: before, at most (MiB)", &format!("{begin:.1}, {most:.1}"));
}

/// Listens to the engine until so many images of a registry were pulled; the time of the last.
fn pulls(count: usize, registry: String) -> thread::JoinHandle<Instant> {
    let mut events = Command::new("docker")
        .args([
            "events",
            "--since",
            "0s",
            "--filter",
            "type=image",
            "--filter",
            "event=pull",
            "--format",
            "{{.Actor.ID}}",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker is installed");
    thread::spawn(move || {
        let lines = events.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let ours = lines.into_iter().flatten().map_while(Result::ok).filter(|image| image.starts_with(&registry));
        let last = ours.take(count).map(|_| Instant::now()).last().unwrap_or_else(Instant::now);
        let _ended = events.kill().and_then(|()| events.wait());
        last
    })
}

/// A pull by the engine alone, and the image gone again.
fn by_hand(image: &str) -> Duration {
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let begin = Instant::now();
    post(&format!("/images/create?fromImage={name}&tag={tag}"), "");
    let took = begin.elapsed();
    docker(&["rmi", image]);
    took
}
