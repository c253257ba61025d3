//! Pulls by the real engine from a registry that is slow, falls silent, breaks off, refuses, or is asked by many.

use std::time::Duration;

use conformance::{
    DEADLINE, Fixture, Task,
    docker::{has_containerd_store, inspect, is_local},
    dockerd::Dockerd,
    event_that,
    faulty_registry::{Asked, Fault, FaultyRegistry},
    object,
    registry::{Access, Registry},
    text, until,
};
use futures_util::{Stream, future::join_all};
use nomad_plugin::{
    client::ClientError,
    driver::{Recoverability, TaskEvent},
};
use tokio::time::timeout;

/// Bytes of a layer that is not here.
const LAYER: usize = 256 << 10;

fn task(fixture: &Fixture, name: &str, image: &str) -> Task {
    fixture.task(name, "sleep 60").option("image", text(image))
}

/// Layers take their time.
fn slow_layers(asked: &Asked) -> Fault {
    if asked.layer { Fault::Slow } else { Fault::None }
}

/// The next event whose text begins so.
async fn event(events: &mut (impl Stream<Item = Result<TaskEvent, ClientError>> + Unpin), begin: &str) -> TaskEvent {
    event_that(events, begin, |event| event.message.starts_with(begin)).await
}

#[tokio::test]
async fn ten_tasks_of_one_image_are_one_pull() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push_with_layer("app:1", LAYER);
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    let image = registry.also(proxy.name(&pushed));
    let fixture = Fixture::start().await;
    let mut events = fixture.driver.task_events().await.unwrap();
    let tasks: Vec<Task> = (0..10).map(|number| task(&fixture, &format!("t{number}"), &image)).collect();

    let all_wait = async {
        for _ in &tasks {
            event(&mut events, "Downloading image").await;
        }
        proxy.release();
    };
    let (started, ()) = tokio::join!(join_all(tasks.iter().map(|task| fixture.run(task))), all_wait);

    assert_eq!(started.len(), 10);
    assert_eq!(proxy.count(&["GET", "/manifests/"]), 1);
    fixture.end().await;
}

#[tokio::test]
async fn a_pull_too_many_waits_for_its_turn_and_its_place_is_reported() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = ["first:1", "second:1", "third:1"].map(|name| registry.push_with_layer(name, LAYER));
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    let images = pushed.map(|image| registry.also(proxy.name(&image)));
    let fixture = Fixture::configured("max_parallel_pulls = 1").await;
    let mut events = fixture.driver.task_events().await.unwrap();
    let [first, second, third] = [0, 1, 2].map(|number| task(&fixture, &format!("t{number}"), &images[number]));

    let mut first_starts = Box::pin(fixture.run(&first));
    let first_event = tokio::select! {
        _ = &mut first_starts => panic!("its layer is slow"),
        event = event(&mut events, "") => event,
    };
    let mut second_starts = Box::pin(fixture.attempt(&second));
    let second_event = tokio::select! {
        _ = &mut second_starts => panic!("it is not its turn"),
        event = event(&mut events, "Waiting") => event,
    };
    let mut third_starts = Box::pin(fixture.run(&third));
    let third_event = tokio::select! {
        _ = &mut third_starts => panic!("it is not its turn"),
        event = event(&mut events, "Waiting") => event,
    };
    // Its caller disconnects.
    drop(second_starts);
    until("the first layer is on its way", || proxy.holding() == 1).await;
    let asked_before = proxy.count(&["GET", "/second/"]) + proxy.count(&["GET", "/third/"]);
    proxy.release();
    tokio::join!(first_starts, third_starts);

    assert_eq!(first_event.message, "Downloading image");
    for (event, place, image) in [(second_event, "1", &images[1]), (third_event, "2", &images[2])] {
        assert_eq!(event.message, format!("Waiting to pull image: place {place} in the queue"));
        assert_eq!((event.annotations["image"].as_str(), event.annotations["place"].as_str()), (image.as_str(), place));
    }
    assert_eq!(asked_before, 0);
    assert_eq!(proxy.count(&["/second/"]), 0, "nobody waits for it");
    assert!(proxy.count(&["GET", "/third/manifests/"]) > 0);
    fixture.end().await;
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_is_broken_off_at_the_registry() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push_with_layer("app:1", LAYER);
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    let image = registry.also(proxy.name(&pushed));
    let fixture = Fixture::start().await;
    let [first, second] = ["first", "second"].map(|name| task(&fixture, name, &image));
    let mut starts = [Box::pin(fixture.attempt(&first)), Box::pin(fixture.attempt(&second))];

    for wanted in &mut starts {
        tokio::select! {
            _ = wanted => panic!("its layer is slow"),
            () = until("the layer is on its way", || proxy.holding() == 1) => {}
        }
    }
    drop(starts);
    until("the engine hangs up", || proxy.hung_up() > 0 && proxy.holding() == 0).await;

    assert!(!is_local(&image));
    fixture.end().await;
}

#[tokio::test]
async fn a_task_that_is_stopped_while_it_waits_for_its_image_gives_up() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push_with_layer("app:1", LAYER);
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    let image = registry.also(proxy.name(&pushed));
    let fixture = Fixture::start().await;
    let task = task(&fixture, "web", &image);

    let stop = async {
        until("the layer is on its way", || proxy.holding() == 1).await;
        fixture.driver.stop_task(task.config.id.clone(), Duration::ZERO, String::new()).await
    };
    let (rejection, stopped) = tokio::join!(fixture.refused(&task), stop);
    until("the engine hangs up", || proxy.hung_up() > 0).await;
    proxy.release();
    fixture.run(&task).await;

    assert_eq!(rejection.message, "the task was stopped while it waited for its image");
    assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    assert!(stopped.is_ok());
    fixture.end().await;
}

#[tokio::test]
async fn the_layers_and_bytes_of_a_slow_pull_are_reported_and_it_comes_to_its_end() {
    let mut registry = Registry::start(Access::Anonymous);
    // Of less than half a MiB more containerd says nothing.
    let pushed = registry.push_with_layer("app:1", 4 << 20);
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    let image = registry.also(proxy.name(&pushed));
    let fixture = Fixture::start().await;
    let mut events = fixture.driver.task_events().await.unwrap();
    let task = task(&fixture, "web", &image);

    let reports = async {
        // The layer of the test image itself is here already; containerd does not speak of it.
        let layers = if has_containerd_store() { "0/1" } else { "1/2" };
        let begin = format!("Docker image pull progress: Pulled {layers} (");
        let end = "MiB) layers: 0 waiting/1 pulling - est ";
        let progress = loop {
            let progress = event(&mut events, &begin).await;
            if progress.message.contains(end) {
                break progress;
            }
        };
        proxy.release();
        progress
    };
    let (_, progress) = tokio::join!(fixture.run(&task), reports);

    assert!(progress.message.ends_with("s remaining"), "{}", progress.message);
    assert_eq!(progress.annotations["image"], image);
    assert_eq!(inspect(&task.container())["Config"]["Image"], image.as_str());
    fixture.end().await;
}

#[tokio::test]
async fn a_rejection_is_reported_in_the_registrys_words_and_another_attempt_may_help() {
    let mut registry = Registry::start(Access::Anonymous);
    let names = ["denied:1", "toomany:1", "broken:1", "unavailable:1"];
    let pushed = names.map(|name| registry.push(name));
    let proxy = FaultyRegistry::start(&registry, |asked| {
        let of = |name: &str| asked.line.contains(&format!("/longshore-test/{name}/manifests/"));
        if of("denied") {
            Fault::Answer("403 Forbidden", r#"{"errors":[{"code":"DENIED","message":"not for sailors"}]}"#)
        } else if of("toomany") {
            let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your pull rate limit"}]}"#;
            Fault::Answer("429 Too Many Requests", body)
        } else if of("broken") {
            Fault::Answer("500 Internal Server Error", "{}")
        } else if of("unavailable") {
            Fault::Answer("503 Service Unavailable", "")
        } else {
            Fault::None
        }
    });
    let mut images = pushed.map(|image| registry.also(proxy.name(&image))).to_vec();
    images.push(format!("{}/longshore-test/absent:1", proxy.address));
    let fixture = Fixture::start().await;

    // containerd asks for no words, but for the status alone.
    let (said, status) = (0, 1);
    let expected = [
        ["denied: not for sailors", "403 Forbidden"],
        ["toomanyrequests: you have reached your pull rate limit", "429 Too Many Requests"],
        ["500 Internal Server Error"; 2],
        ["503 Service Unavailable"; 2],
        ["manifest unknown", "not found"],
    ];
    for (image, expected) in images.iter().zip(expected) {
        let rejection = fixture.refused(&task(&fixture, "web", image)).await;

        let expected = expected[if has_containerd_store() { status } else { said }];
        assert!(rejection.message.starts_with(&format!("Failed to pull `{image}`: ")), "{}", rejection.message);
        assert!(rejection.message.contains(expected), "{expected}: {}", rejection.message);
        assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_layer_that_breaks_off_is_fetched_again() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push_with_layer("app:1", LAYER);
    let cut_first = |asked: &Asked| if asked.layer && asked.before == 0 { Fault::Cut } else { Fault::None };
    let proxy = FaultyRegistry::start(&registry, cut_first);
    let image = registry.also(proxy.name(&pushed));
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "wc -c </layer").option("image", text(&image));

    let output = timeout(*DEADLINE, fixture.output(&task)).await.unwrap();

    assert_eq!(output.trim(), LAYER.to_string());
    fixture.end().await;
}

#[tokio::test]
async fn a_pull_whose_time_is_over_says_how_far_it_was_and_another_attempt_may_help() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = ["stalled:1", "slow:1", "cut:1"].map(|name| registry.push_with_layer(name, LAYER));
    let proxy = FaultyRegistry::start(&registry, |asked| match asked.layer {
        true if asked.line.contains("/stalled/") => Fault::Stall,
        true if asked.line.contains("/cut/") => Fault::Cut,
        true => Fault::Slow,
        false => Fault::None,
    });
    let images = pushed.map(|image| registry.also(proxy.name(&image)));
    let fixture = Fixture::start().await;

    // containerd asks for the rest of what was cut off, again and again, until it has all.
    for image in &images[..if has_containerd_store() { 2 } else { 3 }] {
        let task = task(&fixture, "web", image).option("image_pull_timeout", text("3s"));
        let rejection = fixture.refused(&task).await;

        let expected = format!("Failed to pull `{image}`: not finished within 3 s: ");
        let state = rejection.message.strip_prefix(&expected).unwrap_or_else(|| panic!("{}", rejection.message));
        // How far it comes in that time is the machine's affair.
        assert!(state == "No progress" || state.starts_with("Pulled "), "{state}");
        assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    }
    proxy.release();
    for image in &images[..2] {
        fixture.run(&task(&fixture, "web", image)).await;
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_given_up_long_before_the_pulls_time_is_over() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push_with_layer("silent:1", LAYER);
    let stalls = |asked: &Asked| if asked.layer { Fault::Stall } else { Fault::None };
    let proxy = FaultyRegistry::start(&registry, stalls);
    let image = registry.also(proxy.name(&pushed));
    // The shortest time that the driver takes.
    let fixture = Fixture::configured("pull_activity_timeout = \"1m\"").await;
    let task = task(&fixture, "web", &image).option("image_pull_timeout", text("10h"));

    let silence = Duration::from_secs(60);
    let rejection = timeout(silence + *DEADLINE, fixture.refused(&task)).await.expect("it is given up");
    proxy.release();
    fixture.run(&task).await;

    let expected = format!("Failed to pull `{image}`: aborted after 60 s without progress: ");
    assert!(rejection.message.starts_with(&expected), "{}", rejection.message);
    assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    fixture.end().await;
}

#[tokio::test]
async fn the_time_in_the_queue_is_no_part_of_a_pulls_time() {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = ["first:1", "second:1"].map(|name| registry.push_with_layer(name, LAYER));
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    let images = pushed.map(|image| registry.also(proxy.name(&image)));
    let fixture = Fixture::configured("max_parallel_pulls = 1").await;
    let mut events = fixture.driver.task_events().await.unwrap();
    let first = task(&fixture, "first", &images[0]).option("image_pull_timeout", text("5s"));
    let second = task(&fixture, "second", &images[1]).option("image_pull_timeout", text("1s"));

    let mut late = Box::pin(fixture.attempt(&first));
    tokio::select! {
        _ = &mut late => panic!("its layer is slow"),
        _ = event(&mut events, "Downloading image") => {}
    }
    let begun = async {
        event(&mut events, "Waiting to pull image").await;
        event(&mut events, "Downloading image").await
    };
    let (late, second_start, begun) = tokio::join!(late, fixture.attempt(&second), begun);
    drop(second_start);

    let late = late.err().expect("its time is over").to_string();
    assert!(late.contains("not finished within 5 s"), "{late}");
    assert_eq!(begun.task_id, second.config.id, "seconds in the queue, and it begins all the same");
    fixture.end().await;
}

#[tokio::test]
async fn a_pull_in_whose_midst_dockerd_dies_may_be_tried_again_and_then_works() {
    let mut engine = Dockerd::start();
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push_with_layer("app:1", LAYER);
    let proxy = FaultyRegistry::start(&registry, slow_layers);
    proxy.listen_beside(&engine);
    let image = proxy.name(&pushed);
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &engine.address())]).await;
    let task = fixture.task("web", "wc -c </layer").option("image", text(&image));

    let mut starts = Box::pin(fixture.refused(&task));
    tokio::select! {
        rejection = &mut starts => panic!("its layers are slow: {rejection}"),
        () = until("a layer is on its way", || proxy.holding() > 0) => engine.kill(),
    }
    let rejection = timeout(*DEADLINE, starts).await.expect("it does not hang");
    engine.begin();
    proxy.listen_beside(&engine);
    proxy.release();
    let output = timeout(*DEADLINE, fixture.output(&task)).await.unwrap();

    let expected = format!("Failed to pull `{image}`: the connection to the Docker daemon broke: ");
    assert!(rejection.message.starts_with(&expected), "{}", rejection.message);
    assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    assert_eq!(output.trim(), LAYER.to_string());
    fixture.end().await;
}
