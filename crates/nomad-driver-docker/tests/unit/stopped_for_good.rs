//! A stopped task is restarted only by its host.

use std::time::Duration;

use fake_engine::Container;
use nomad_plugin::driver::{Driver, Force, TaskConfig, TaskHandle};
use proptest::prelude::*;

use crate::case::{Case, failed, paused};

#[derive(Clone, Debug)]
enum Step {
    /// The task is stopped.
    Stop { signal: &'static str, seconds: u64 },
    /// Its process exits by itself.
    Exit { event: bool },
    /// The driver is killed, and another process recovers the task.
    KillDriver,
    /// The host hands the task over again.
    Recover,
    /// The engine is restarted.
    RestartEngine,
    /// The task is destroyed.
    Destroy,
    /// A minute passes.
    Time,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (prop::sample::select(vec!["", "SIGTERM", "SIGUSR1"]), 0u64..20)
            .prop_map(|(signal, seconds)| Step::Stop { signal, seconds }),
        any::<bool>().prop_map(|event| Step::Exit { event }),
        Just(Step::KillDriver),
        Just(Step::Recover),
        Just(Step::RestartEngine),
        Just(Step::Destroy),
        Just(Step::Time),
    ];
    prop::collection::vec(step, 1..12)
}

async fn step(case: &mut Case, task: &TaskConfig, handle: &TaskHandle, step: Step) {
    match step {
        Step::Stop { signal, seconds } => {
            // A destroyed task is not known.
            let _stopped = case.driver.stop_task(task.id.clone(), Duration::from_secs(seconds), signal.into()).await;
        }
        Step::Exit { event } => {
            let running: Vec<String> =
                case.engine.containers().into_iter().filter(Container::is_running).map(|found| found.id).collect();
            for container in running {
                if event { case.engine.exit(&container, 1) } else { case.engine.exit_without_event(&container, 1) }
            }
        }
        Step::KillDriver => {
            case.kill_driver().await;
            let _not_there = case.driver.recover_task(handle.clone()).await;
        }
        Step::Recover => {
            let _not_there = case.driver.recover_task(handle.clone()).await;
        }
        Step::RestartEngine => case.engine.restart(),
        Step::Destroy => {
            let _unknown = case.driver.destroy_task(task.id.clone(), Force::Yes).await;
        }
        Step::Time => case.pass(Duration::from_secs(60)).await,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_it_its_driver_and_its_engine(before in steps(), after in steps()) {
        paused(async {
            let mut case = Case::new().await;
            let task = case.task("web");
            let handle = case.start(&task).await.handle;
            for each in before {
                step(&mut case, &task, &handle, each).await;
            }
            let last = Step::Stop { signal: "SIGTERM", seconds: 1 };
            step(&mut case, &task, &handle, last).await;

            for each in after {
                step(&mut case, &task, &handle, each.clone()).await;

                prop_assert!(case.engine.containers().iter().all(|found| !found.is_running()), "after {each:?}");
            }
            prop_assert_eq!(case.requests("POST /containers/create").len(), 1);
            prop_assert_eq!(case.requests("POST /containers/*/start").len(), 1);
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn its_end_is_the_same_for_each_process_that_takes_it_back() {
    let mut case = Case::new().await;
    let task = case.task("web");
    let handle = case.start(&task).await.handle;
    case.driver.stop_task(task.id.clone(), Duration::from_secs(5), "SIGTERM".into()).await.unwrap();

    for _ in 0..3 {
        case.kill_driver().await;
        case.driver.recover_task(handle.clone()).await.unwrap();
        assert_eq!(case.wait(&task).await.result.exit_code, 143);
    }

    assert!(failed(case.driver.start_task(task).await).message.contains("already started"));
}
