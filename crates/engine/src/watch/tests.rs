use std::time::Duration;

use fake_engine::{FakeEngine, Image, Reply};
use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::*;
use crate::Endpoint;

const WOKEN: Pending = Pending { may_have_ended: true, out_of_memory: None, disconnected: false };

/// An engine with the running containers `c1` and `c2`, and their watch.
fn watching() -> (FakeEngine, ContainerWatch, [WatchHandle; 2]) {
    let fake = FakeEngine::start();
    fake.add_image(Image::named("app:1"));
    let watch = ContainerWatch::new(Engine::new(Endpoint { address: fake.address(), tls: None }));
    let handles = ["c1", "c2"].map(|name| {
        let id = fake.create(name, serde_json::json!({ "Image": "app:1" }));
        fake.run(name);
        watch.watch(&id)
    });
    (fake, watch, handles)
}

/// Waits for as many more looks.
async fn looks(fake: &FakeEngine, times: usize) {
    let before = fake.requests("GET /containers/json").len();
    fake.asked_times("GET /containers/json", before + times).await;
}

#[tokio::test(start_paused = true)]
async fn all_are_woken_when_a_subscription_begins() {
    let (fake, _watch, [first, second]) = watching();

    let begun = (first.notified().await, second.notified().await);
    fake.restart();
    let again = (first.notified().await, second.notified().await);

    assert_eq!((begun, again), ((WOKEN, WOKEN), (WOKEN, WOKEN)));
    assert_eq!(fake.requests("GET /events").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_a_mute_subscription_misses_is_found_soon_and_the_subscription_is_replaced() {
    for mute in [Reply::mute(), Reply::hang()] {
        let (fake, _watch, [first, second]) = watching();
        fake.on("GET /events").always(mute);
        looks(&fake, 2).await;
        let _begun = (first.notified().now_or_never(), second.notified().now_or_never());
        let (begun, subscriptions) = (Instant::now(), fake.requests("GET /events").len());

        fake.exit_without_event("c1", 0);
        first.notified().await;
        let took = begun.elapsed();
        fake.on("GET /events").usual();
        fake.asked_times("GET /events", subscriptions + 1).await;

        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(second.notified().await, WOKEN, "the next subscription begins");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_reported_an_end_is_kept() {
    let (fake, _watch, [first, _second]) = watching();
    first.notified().await;
    looks(&fake, 1).await;

    fake.exit("c1", 0);
    let notified = first.notified().await;
    looks(&fake, 4).await;

    assert!(notified.may_have_ended);
    assert_eq!(fake.requests("GET /events").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_dropped_when_the_engine_is_silent_and_not_when_it_fails() {
    let (fake, _watch, _handles) = watching();
    fake.asked("GET /events").await;

    fake.on("GET /containers/json").times(2, Reply::error(500, "no"));
    fake.on("GET /containers/json").once(Reply::drop_connection());
    looks(&fake, 4).await;
    let after_failures = fake.requests("GET /events").len();
    fake.on("GET /containers/json").once(Reply::hang());
    fake.asked_times("GET /events", 2).await;

    assert_eq!(after_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_not_started_yet_is_no_missed_end() {
    let (fake, watch, _handles) = watching();
    let id = fake.create("c3", serde_json::json!({ "Image": "app:1" }));
    let _third = watch.watch(&id);

    looks(&fake, 4).await;

    assert_eq!(fake.requests("GET /events").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_watched_containers_is_not_asked() {
    let (fake, _watch, handles) = watching();
    fake.asked("GET /events").await;
    drop(handles);

    let asked = timeout(Duration::from_secs(60), fake.asked("GET /containers/json")).await;

    assert!(asked.is_err(), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_engine_is_asked_less_often() {
    let (fake, _watch, _handles) = watching();
    fake.on("GET /containers/json").always(Reply::usual().delayed(Duration::from_millis(300)));
    looks(&fake, 1).await;
    let begun = Instant::now();

    looks(&fake, 2).await;

    assert!(begun.elapsed() > Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_waker_notifies_as_long_as_there_is_a_handle() {
    let (fake, _watch, [first, second]) = watching();
    fake.on("GET /events").always(Reply::hang());
    let waker = first.waker();

    waker.wake();
    let woken = first.notified().await;
    drop(first);
    waker.wake();

    assert_eq!(woken, WOKEN);
    assert_eq!(*lock(&second.subscriber.pending), Pending::default());
}

#[tokio::test]
async fn each_subscriber_of_a_container_is_notified_and_one_that_leaves_takes_no_other_with_it() {
    let watch = ContainerWatch::new(Engine::new(Endpoint { address: "unix:///nowhere".to_owned(), tls: None }));
    let (first, second, third) = (watch.watch("c1"), watch.watch("c1"), watch.watch("c1"));
    let died =
        ContainerEvent { container: "c1".to_owned(), kind: ContainerEventKind::Died, at: SystemTime::UNIX_EPOCH };

    drop(second);
    watch.watched.happened(&died);

    assert!(first.notified().await.may_have_ended && third.notified().await.may_have_ended);
    drop((first, third));
    assert!(watch.watched.lock().is_empty());
}
