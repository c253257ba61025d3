//! Tasks in plenty whose images are not there: what the registry is asked, how long it takes, and the driver's memory.
//!
//! 50 tasks of one image and 20 tasks of an image each start at once; then the same once more, with the images there. The
//! difference is what the pulls took, beside the slowest of the 21 images pulled alone by the bare engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
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

const TASKS_OF_ONE_IMAGE: usize = 50;
const IMAGES: usize = 20;
/// Of the layer that makes each image.
const BYTES: usize = 8 << 20;

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
                thread::sleep(Duration::from_millis(20));
            }
            most
        })
    };
    let absent = start(&fixture, "absent", &images).await;
    over.store(true, Ordering::SeqCst);
    let most = watch.join().unwrap_or_default();
    let (of_one, of_each) = (asked("/one/") - one_before, asked("/each-") - each_before);
    let present = start(&fixture, "present", &images).await;
    fixture.end().await;

    let pulls = absent.saturating_sub(present);
    row(&format!("{TASKS_OF_ONE_IMAGE} tasks of one image and {IMAGES} of an image each, at once"), "figure");
    row("---", "---");
    row("manifests asked of the registry: of the one image, of the others", &format!("{of_one}, {of_each}"));
    row("slowest of these images pulled alone by the bare engine (s)", &format!("{:.2}", slowest.as_secs_f64()));
    row(
        "until all tasks run: images absent, present, difference (s)",
        &format!("{:.1}, {:.1}, {:.1}", absent.as_secs_f64(), present.as_secs_f64(), pulls.as_secs_f64()),
    );
    row("the difference over the slowest pull", &format!("{:.1}", pulls.as_secs_f64() / slowest.as_secs_f64()));
    row("memory (PSS) of the driver: before, at most while it pulls (MiB)", &format!("{begin:.1}, {most:.1}"));
}

/// Starts a task of each image at once; how long it is until the last one runs.
async fn start(fixture: &Fixture, name: &str, images: &[&String]) -> Duration {
    let tasks: Vec<Task> = images
        .iter()
        .enumerate()
        .map(|(number, image)| {
            fixture.task(&format!("{name}-{number}"), "exec sleep 1000").option("image", text(image))
        })
        .collect();
    let begin = Instant::now();
    join_all(tasks.iter().map(|task| fixture.run(task))).await;
    begin.elapsed()
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
