//! The watching of a container to its end, at a scripted engine.

use std::cell::Cell;

use engine::{ContainerWatch, Endpoint};
use fake_engine::{Event, FakeEngine, Reply};

use super::*;

/// An engine with a container `c1` that runs, and a watch of it.
fn watching() -> (FakeEngine, Engine, ContainerWatch, WatchHandle) {
    let fake = FakeEngine::start();
    fake.add_image(fake_engine::Image::named("app:1"));
    let id = fake.create("c1", serde_json::json!({ "Image": "app:1" }));
    fake.run("c1");
    let engine = Engine::new(Endpoint { address: fake.address(), tls: None });
    let watch = ContainerWatch::new(engine.clone());
    let handle = watch.watch(&id);
    (fake, engine, watch, handle)
}

/// The kernel kills a process of `c1`, and the engine reports it.
fn kill_a_child(fake: &FakeEngine) {
    fake.emit(Event::of(&fake.container("c1").expect("c1 is there"), "oom"));
}

/// Watches `c1`, of which the kernel kills a process each time that it is watched; to report that panics. `c1` exits with 3
/// after as many reports.
async fn watched_with_panics(panics: usize, reports: usize) -> Exit {
    let (fake, engine, _watch, handle) = watching();
    let reported = Cell::new(0);
    let (networks, ending) = (Connections::default(), AtomicBool::new(false));
    let id = fake.container("c1").expect("c1 is there").id;
    let watching = watch(&engine, &id, &handle, &networks, &ending, |_| {
        reported.set(reported.get() + 1);
        assert!(reported.get() > panics, "reported for the {}. time", reported.get());
    });
    let engines_side = async {
        fake.asked("GET /events").await;
        for report in 1..=reports {
            kill_a_child(&fake);
            wait::until("the report", || reported.get() >= report).await;
        }
        fake.exit("c1", 3);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        exit = watching => exit,
        () = engines_side => unreachable!("it waits for ever"),
    }
}

/// Watches `c1`, which is already killed at the first inspect; the engine reports the OOM kill only then.
async fn killed(ending: bool) -> Exit {
    let (fake, engine, _watch, handle) = watching();
    let (networks, ending) = (Connections::default(), AtomicBool::new(ending));
    let id = fake.container("c1").expect("c1 is there").id;
    fake.exit_without_event("c1", 137);
    fake.on("GET /containers/*/json").once(Reply::usual().after(kill_a_child));
    watch(&engine, &id, &handle, &networks, &ending, |_| ()).await
}

#[tokio::test]
async fn what_the_kernel_did_is_waited_for_unless_the_kill_is_our_own() {
    let (by_the_kernel, ours) = (killed(false).await.result, killed(true).await.result);

    assert_eq!((by_the_kernel.result.oom_killed, by_the_kernel.error.as_str()), (true, "OOM Killed"));
    assert_eq!((ours.result.exit_code, ours.result.oom_killed), (137, false));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_tasks_watcher_is_no_end_of_the_task_and_the_end_is_reported() {
    let exit = watched_with_panics(1, 1).await;

    assert_eq!(exit.result.result.exit_code, 3);
    assert_eq!(exit.result.error, "Docker container exited with non-zero exit code: 3");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_panics_each_time_reports_the_end_without_reading_how() {
    let exit = watched_with_panics(usize::MAX, 2).await;

    assert_eq!(exit.result.result.exit_code, 3);
    assert_eq!(exit.result.error, "the driver failed while it read how the task ended");
}
