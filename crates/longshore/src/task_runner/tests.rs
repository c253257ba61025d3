//! One task with the fake driver, in paused time.

use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    Failure,
    fake_driver::{Machine, Run, task},
};

const SECOND: Duration = Duration::from_secs(1);

fn exits(seconds: u64, code: i32) -> Run {
    Run::Exits(SECOND * u32::try_from(seconds).unwrap(), code)
}

/// The only task of a group that is started again by this policy.
fn restarting(policy: &str) -> String {
    format!("  restart {{\n {policy}\n }}\n{}", task("t", ""))
}

fn seconds(times: &[Duration]) -> Vec<u64> {
    times.iter().map(Duration::as_secs).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_is_started_again_after_each_delay_until_its_attempts_are_used_up() {
    let machine = Machine::new();
    machine.driver.runs("t", [exits(5, 1), exits(5, 1), exits(5, 1), exits(5, 1)]);
    let policy = "attempts = 2\n delay = \"15s\"\n interval = \"10m\"\n mode = \"fail\"";

    let ended = machine.run("service", &restarting(policy)).await;

    assert!(matches!(ended, Err(Failure::Task)), "{ended:?}");
    assert_eq!(seconds(&machine.driver.times("start t")), [0, 20, 40]);
    let state = machine.task("t");
    assert_eq!((state.phase, state.exit_code, state.restarts), (Phase::Failed, Some(1), 2));
    assert_eq!(state.reason().unwrap(), "Exit Code: 1; Exceeded allowed attempts");
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_policy_delays_is_started_again_in_the_next_interval() {
    let machine = Machine::new();
    machine.driver.runs("t", [exits(0, 1), exits(0, 1), exits(0, 0)]);
    let policy = "attempts = 1\n delay = \"15s\"\n interval = \"10m\"\n mode = \"delay\"";

    let ended = machine.run("batch", &restarting(policy)).await;

    assert!(ended.is_ok(), "{ended:?}");
    let starts = seconds(&machine.driver.times("start t"));
    // The interval is one of the machine's clock, which does not stand still: it is less than the whole one.
    assert_eq!((starts.len(), starts[1]), (3, 15));
    assert!((15 + 610..=15 + 615).contains(&starts[2]), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_stopped_while_it_waits_for_its_restart_is_over_at_once() {
    let machine = Machine::new();
    machine.driver.runs("t", [exits(0, 3)]);
    let agent = machine.begin("service", &restarting("attempts = 2\n delay = \"1h\"\n interval = \"2h\""));
    machine.called("destroy t", 1).await;
    let stopped = Instant::now();

    agent.stop(Stop::Gently);
    let ended = agent.end().await;

    assert!(ended.is_ok() && stopped.elapsed() < SECOND, "{ended:?} after {:?}", stopped.elapsed());
    assert_eq!(machine.driver.times("start t").len(), 1);
    assert_eq!((machine.task("t").phase, machine.task("t").exit_code), (Phase::Complete, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn a_task_has_its_kill_timeout_and_is_killed_at_once_when_the_person_insists() {
    for (insists, took) in [(false, 30), (true, 10)] {
        let machine = Machine::new();
        machine.driver.runs("t", [Run::Ignores]);
        let agent = machine.begin("service", &task("t", "kill_timeout = \"30s\"\n kill_signal = \"SIGINT\""));
        machine.called("start t", 1).await;
        let stopped = Instant::now();

        agent.stop(Stop::Gently);
        if insists {
            sleep(10 * SECOND).await;
            agent.stop(Stop::Now);
        }
        let ended = agent.end().await;

        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!(stopped.elapsed().as_secs(), took, "insists: {insists}");
        assert!(machine.driver.calls().contains(&"0 stop t SIGINT 30".to_owned()), "{:?}", machine.driver.calls());
        assert_eq!(machine.task("t").exit_code, Some(137));
        assert!(!machine.driver.has_running());
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_signal_the_driver_rejects_is_killed() {
    let machine = Machine::new();
    machine.driver.runs("t", [Run::Ignores]);
    let agent = machine.begin("service", &task("t", "kill_signal = \"SIGXFSZ\""));
    machine.called("start t", 1).await;

    agent.stop(Stop::Gently);
    agent.end().await.unwrap();

    let calls = machine.driver.order();
    let stops: Vec<&String> = calls.iter().filter(|call| call.starts_with("stop")).collect();
    assert_eq!(stops, ["stop t SIGXFSZ 5", "stop t SIGKILL 0"]);
    assert!(!machine.driver.has_running());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_may_succeed_later_is_tried_again_and_one_that_cannot_is_not() {
    use nomad_plugin::driver::DriverError;
    let policy = "attempts = 5\n delay = \"10s\"\n interval = \"10m\"\n mode = \"fail\"";
    for (error, starts, is_ok) in [
        (DriverError::recoverable("the registry does not answer"), vec![0, 10], true),
        (DriverError::fatal("no such image"), vec![0], false),
        (DriverError::new("broken"), vec![0], false),
    ] {
        let machine = Machine::new();
        machine.driver.runs("t", [Run::Fails(error.clone()), exits(1, 0)]);

        let ended = machine.run("batch", &restarting(policy)).await;

        assert_eq!((ended.is_ok(), seconds(&machine.driver.times("start t"))), (is_ok, starts), "{error:?}");
        let events = machine.task("t").events;
        assert_eq!((events[0].kind.as_str(), &events[0].message), ("Driver Failure", &error.message));
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_waits_is_given_up_when_the_job_is_stopped() {
    let machine = Machine::new();
    machine.driver.runs("t", [Run::Waits]);
    let agent = machine.begin("service", &task("t", ""));
    machine.called("start t", 1).await;

    agent.stop(Stop::Gently);
    let ended = agent.end().await;

    assert!(ended.is_ok(), "{ended:?}");
    let events = machine.task("t").events;
    let last = events.last().unwrap();
    assert_eq!((last.kind.as_str(), last.message.as_str()), ("Killed", "stopped while it waited for its image"));
    assert_eq!(machine.driver.times("start t").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_the_driver_lost_has_failed_and_is_started_again() {
    let machine = Machine::new();
    machine.driver.runs("t", [Run::Ignores, exits(1, 0)]);
    let policy = "attempts = 1\n delay = \"10s\"\n interval = \"10m\"\n mode = \"fail\"";
    let agent = machine.begin("batch", &restarting(policy));
    machine.called("start t", 1).await;

    machine.driver.remove_task("t");
    machine.driver.kill_process();
    let ended = agent.end().await;

    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(machine.driver.times("start t").len(), 2);
    let lost = machine.task("t").events.into_iter().find(|event| event.kind == "Terminated").unwrap();
    assert_eq!(lost.message, "the driver lost the task: task not found for given id");
}

/// What happens to a job at some second.
#[derive(Clone, Copy, Debug)]
enum Happening {
    DriverDies,
    TaskExits(i32),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_task_that_was_stopped_is_never_started_again(
        runs in prop::collection::vec(
            prop_oneof![
                (0u64..20, 0i32..3).prop_map(|(after, code)| exits(after, code)),
                Just(Run::Obeys),
                Just(Run::Ignores),
                Just(Run::Waits),
                Just(Run::Fails(nomad_plugin::driver::DriverError::recoverable("later"))),
            ],
            0..6,
        ),
        happenings in prop::collection::vec(
            (0u64..60, prop_oneof![Just(Happening::DriverDies), (0i32..3).prop_map(Happening::TaskExits)]),
            0..6,
        ),
        stop_at in 0u64..60_000,
        insists_after in prop::option::of(0u64..10),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let machine = Machine::new();
            machine.driver.runs("t", runs);
            let policy = "attempts = 50\n delay = \"2s\"\n interval = \"10m\"\n mode = \"delay\"";
            let agent = machine.begin("service", &restarting(policy));
            let mut happenings = happenings;
            happenings.sort_by_key(|(at, _)| *at);
            let disturb = async {
                let begin = Instant::now();
                for (at, happening) in happenings {
                    tokio::time::sleep_until(begin + SECOND * u32::try_from(at).unwrap()).await;
                    match happening {
                        Happening::DriverDies => machine.driver.kill_process(),
                        Happening::TaskExits(code) => machine.driver.exit("t", code),
                    }
                }
            };
            let stop = async {
                sleep(Duration::from_millis(stop_at)).await;
                agent.stop(Stop::Gently);
                let at = Instant::now();
                if let Some(seconds) = insists_after {
                    sleep(SECOND * u32::try_from(seconds).unwrap()).await;
                    agent.stop(Stop::Now);
                }
                (at, agent.end().await)
            };

            let ((), (stopped, ended)) = tokio::join!(disturb, stop);

            let late = machine.driver.starts_after(stopped);
            assert_eq!(late, Vec::<Duration>::new(), "{ended:?} {:?}", machine.driver.calls());
            assert!(!machine.driver.has_running(), "{:?}", machine.driver.calls());
            assert!(machine.task("t").phase.is_over());
        });
    }
}
