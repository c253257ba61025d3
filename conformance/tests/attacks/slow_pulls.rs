//! A job whose registry takes its time: it keeps neither another job's image nor a group's network waiting.

use conformance::{
    Fixture, Task,
    docker::docker,
    event_that,
    faulty_registry::{Asked, Fault, FaultyRegistry},
    registry::{Access, Registry},
    text, until,
};
use futures_util::future::join_all;
use nomad_plugin::{driver::Recoverability, id::AllocId};

/// Bytes of a layer that is not here.
const LAYER: usize = 256 << 10;

/// Layers of all but one repository take their time.
fn slow_layers(asked: &Asked) -> Fault {
    if asked.layer && asked.line.contains("/slow-") { Fault::Slow } else { Fault::None }
}

fn task(fixture: &Fixture, job: &str, image: &str) -> Task {
    let mut task = fixture.task("web", "sleep 60").option("image", text(image));
    job.clone_into(&mut task.config.job_id);
    task.option("image_pull_timeout", text("100h"))
}

#[tokio::test]
async fn a_job_whose_pulls_never_end_delays_no_other_job_and_no_network() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = ["slow-a:1", "slow-b:1", "slow-c:1", "quick:1", "pause:1"];
    let pushed = pushed.map(|name| registry.push_with_layer(name, LAYER));
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    let [a, b, c, quick, pause] = pushed.map(|image| registry.also(proxy.name(&image)));
    // The engine itself downloads three layers at once.
    let fixture = Fixture::configured(&format!("max_parallel_pulls = 2\ninfra_image = {pause:?}")).await;
    let mut events = fixture.driver.task_events().await.unwrap();
    let slow = [a, b, c].map(|image| task(&fixture, "slow", &image));
    let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());

    let all_slow = join_all(slow.iter().map(|task| fixture.run(task)));
    let meanwhile = async {
        until("each place is taken", || proxy.holding() == 2).await;
        event_that(&mut events, "the third", |event| event.message.starts_with("Waiting to pull image")).await;
        fixture.run(&task(&fixture, "other", &quick)).await;
        // Its program is the test image's, which ends at once; that it is tried says that the image is there.
        let made = fixture.driver.create_network(alloc.clone(), String::new()).await;
        let of = docker(&["images", "--quiet", &pause]);
        let held = proxy.holding();
        fixture.driver.destroy_network(alloc, made.ok().map(|made| made.isolation)).await.unwrap();
        proxy.release();
        (of, held)
    };
    let (started, (pause, held)) = tokio::join!(all_slow, meanwhile);

    assert_eq!((started.len(), held), (3, 2));
    assert_ne!(pause, "");
    fixture.end().await;
}

#[tokio::test]
async fn a_job_has_no_more_time_for_a_pull_than_the_operator_gives() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push_with_layer("slow-late:1", LAYER);
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    let image = registry.also(proxy.name(&pushed));
    let fixture = Fixture::configured("image_pull_timeout_max = \"1s\"").await;

    let rejection = fixture.refused(&task(&fixture, "slow", &image)).await;

    assert!(rejection.message.contains("not finished within 1 s: "), "{rejection}");
    assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    proxy.release();
    fixture.end().await;
}
