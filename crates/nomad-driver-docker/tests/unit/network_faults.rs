//! Group networks and an engine that fails: each kind of fault at each call that a network's life makes.

use std::time::Duration;

use fake_engine::{Image, Reply, Request};
use nomad_plugin::driver::{CreatedNetwork, Driver, DriverError, NetworkIsolation, Recoverability};
use tokio::time::Instant;

use crate::case::{ALLOC, Case, failed, faults, text};

const PAUSE_IMAGE: &str = "registry.test/pause:1";
const SANDBOX: &str = "docker_sandbox_container_id";

/// Those that may also be there for long; what is cut is like what is closed.
fn lasting() -> impl Iterator<Item = (&'static str, Reply)> {
    faults().into_iter().filter(|(name, _)| {
        !["closed after the effect", "cut in its answer", "no answer after the effect"].contains(name)
    })
}

async fn case() -> Case {
    let case = Case::with([("infra_image", text(PAUSE_IMAGE))]).await;
    case.engine.add_image(Image::named(PAUSE_IMAGE));
    case
}

async fn create(case: &Case) -> Result<CreatedNetwork, DriverError> {
    case.driver.create_network(ALLOC.into(), "front".into()).await
}

async fn destroy(case: &Case, isolation: &NetworkIsolation) -> Result<(), DriverError> {
    case.driver.destroy_network(ALLOC.into(), Some(isolation.clone())).await
}

/// The calls that were made, each as a pattern with the number of its occurrence. The subscription to events is nobody's call.
fn calls(case: &Case) -> Vec<(String, usize)> {
    let mut calls: Vec<(String, usize)> = Vec::new();
    for request in case.requests("*").iter().filter(|request| request.path != "/events") {
        let pattern = pattern(request);
        let before = calls.iter().filter(|(earlier, _)| *earlier == pattern).count();
        calls.push((pattern, before));
    }
    calls
}

fn pattern(Request { method, path, .. }: &Request) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    if path.starts_with("/containers/") && !["create", "json"].contains(&parts[2]) {
        parts[2] = "*";
    }
    format!("{method} {}", parts.join("/"))
}

/// Makes an occurrence of a call fail.
fn script(case: &Case, (call, before): &(String, usize), fault: Reply) {
    case.engine.on(call).times(*before, Reply::usual());
    case.engine.on(call).once(fault);
}

/// Waits until nothing is left of the network, in the engine and on disk.
async fn nothing_is_left(case: &Case, what: &str) {
    case.engine.until(what, |engine| engine.containers().is_empty()).await;
    let deadline = Instant::now() + Duration::from_secs(120);
    while !case.recorded_networks().is_empty() {
        assert!(Instant::now() < deadline, "{what}: {:?}", case.recorded_networks());
        case.pass(Duration::from_secs(1)).await;
    }
}

fn is_whole(case: &Case, made: &CreatedNetwork) -> bool {
    let containers = case.engine.containers();
    containers.len() == 1 && containers[0].is_running() && made.isolation.labels[SANDBOX] == containers[0].id
}

#[tokio::test(start_paused = true)]
async fn one_fault_at_any_call_of_a_creation_leaves_one_network_that_was_created() {
    let whole = case().await;
    create(&whole).await.unwrap();

    for call in calls(&whole) {
        for (name, fault) in faults() {
            let what = format!("{name} at {call:?}");
            let case = case().await;
            script(&case, &call, fault);

            let made = create(&case).await.unwrap_or_else(|error| panic!("{what}: {error}"));

            assert!(made.created && is_whole(&case, &made), "{what}: {made:?}, {:?}", case.engine.containers());
            destroy(&case, &made.isolation).await.unwrap();
            nothing_is_left(&case, &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_fault_at_any_call_of_a_removal_leaves_nothing() {
    let whole = case().await;
    let isolation = create(&whole).await.unwrap().isolation;
    whole.engine.forget_requests();
    destroy(&whole, &isolation).await.unwrap();

    for call in calls(&whole) {
        for (name, fault) in faults() {
            let what = format!("{name} at {call:?}");
            let case = case().await;
            let isolation = create(&case).await.unwrap().isolation;
            script(&case, &call, fault);

            let removed = destroy(&case, &isolation).await;

            assert_eq!(removed, Ok(()), "{what}");
            nothing_is_left(&case, &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_succeeds_fails_a_creation_in_a_way_that_may_be_tried_again_and_leaves_nothing() {
    let whole = case().await;
    create(&whole).await.unwrap();

    for (call, _) in calls(&whole) {
        for (name, fault) in lasting() {
            let what = format!("{name} at each {call}");
            let case = case().await;
            case.engine.on(&call).always(fault);
            let began = Instant::now();

            let made = create(&case).await;

            assert!(began.elapsed() < Duration::from_secs(400), "{what}: {:?}", began.elapsed());
            case.engine.forget_script();
            match made {
                Ok(made) => {
                    assert!(made.created && is_whole(&case, &made), "{what}");
                    destroy(&case, &made.isolation).await.unwrap();
                }
                Err(error) => assert_eq!(error.recoverability, Recoverability::Recoverable, "{what}: {error}"),
            }
            nothing_is_left(&case, &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_succeeds_holds_no_caller_of_a_removal_which_is_finished_later() {
    let whole = case().await;
    let isolation = create(&whole).await.unwrap().isolation;
    whole.engine.forget_requests();
    destroy(&whole, &isolation).await.unwrap();

    for (call, _) in calls(&whole) {
        for (name, fault) in lasting() {
            let what = format!("{name} at each {call}");
            let case = case().await;
            let isolation = create(&case).await.unwrap().isolation;
            case.engine.on(&call).always(fault);
            let began = Instant::now();

            let removed = destroy(&case, &isolation).await;

            assert!(began.elapsed() < Duration::from_secs(61), "{what}: {:?}", began.elapsed());
            if let Err(error) = removed {
                assert!(error.message.ends_with("; the removal continues in the background"), "{what}: {error}");
            }
            case.engine.forget_script();
            nothing_is_left(&case, &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_is_requested_while_the_engine_is_away_is_finished_when_it_is_back() {
    let case = case().await;
    let isolation = create(&case).await.unwrap().isolation;
    case.engine.stop();
    let began = Instant::now();

    let error = failed(destroy(&case, &isolation).await);
    let answered = began.elapsed();
    case.pass(Duration::from_secs(1200)).await;
    case.engine.serve();

    assert!(error.message.contains("cannot connect to the Docker daemon"), "{error}");
    assert!((59..62).contains(&answered.as_secs()), "{answered:?}");
    nothing_is_left(&case, "the removal").await;
    assert_eq!(destroy(&case, &isolation).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_second_request_for_a_removal_is_an_attempt_at_once() {
    let case = case().await;
    let isolation = create(&case).await.unwrap().isolation;
    case.engine.stop();
    failed(destroy(&case, &isolation).await);
    case.engine.serve();
    let began = Instant::now();

    let removed = destroy(&case, &isolation).await;

    assert_eq!(removed, Ok(()));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    nothing_is_left(&case, "the removal").await;
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_wanted_again_before_it_is_removed_is_another_one() {
    let case = case().await;
    let first = create(&case).await.unwrap().isolation;
    case.engine.stop();
    failed(destroy(&case, &first).await);
    case.engine.serve();

    let second = create(&case).await.unwrap();
    case.pass(Duration::from_secs(300)).await;

    assert!(second.created && is_whole(&case, &second));
    assert_ne!(second.isolation.labels[SANDBOX], first.labels[SANDBOX]);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_exists_outlives_an_engine_that_does_not_answer_for_it() {
    let case = case().await;
    let first = create(&case).await.unwrap();
    case.engine.stop();

    let error = failed(create(&case).await);
    case.engine.serve();
    let again = create(&case).await.unwrap();
    case.pass(Duration::from_secs(300)).await;

    assert_eq!(error.recoverability, Recoverability::Recoverable);
    assert!(!again.created && is_whole(&case, &again));
    assert_eq!(again.isolation, first.isolation);
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_nobody_waits_for_any_more_leaves_nothing() {
    let whole = case().await;
    create(&whole).await.unwrap();

    for call in calls(&whole) {
        let case = case().await;
        script(&case, &call, Reply::usual().delayed(Duration::from_secs(5)));

        let given_up = tokio::time::timeout(Duration::from_secs(2), create(&case)).await;

        assert!(given_up.is_err(), "{call:?}");
        nothing_is_left(&case, &format!("given up at {call:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_twenty_seconds_fails_no_creation() {
    let case = case().await;
    case.engine.stop();
    let returns = async {
        case.pass(Duration::from_secs(20)).await;
        case.engine.serve();
    };

    let (made, ()) = tokio::join!(create(&case), returns);

    assert!(is_whole(&case, &made.unwrap()));
}
