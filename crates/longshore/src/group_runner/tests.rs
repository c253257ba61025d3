//! The tasks of a group with the fake driver: in which order they begin and end.

use std::time::Duration;

use super::*;
use crate::{
    Failure,
    fake_driver::{Machine, Run, task},
};

const SECOND: Duration = Duration::from_secs(1);
const NO_RESTART: &str = "  restart {\n attempts = 0\n mode = \"fail\"\n }\n";

fn exits(seconds: u32, code: i32) -> Run {
    Run::Exits(SECOND * seconds, code)
}

fn hook(hook: &str, sidecar: bool) -> String {
    format!("lifecycle {{\n hook = \"{hook}\"\n sidecar = {sidecar}\n }}")
}

/// When tasks began and ended, without what else the driver was called for.
fn begins_and_ends(machine: &Machine) -> Vec<String> {
    let calls = machine.driver.calls().into_iter();
    calls.filter(|call| call.contains(" start ") || call.contains(" destroy ")).collect()
}

#[tokio::test(start_paused = true)]
async fn tasks_begin_and_end_in_the_order_of_their_lifecycles() {
    let machine = Machine::new();
    machine.driver.runs("first", [exits(2, 0)]);
    machine.driver.runs("main", [exits(10, 0)]);
    machine.driver.runs("after", [exits(3, 0)]);
    machine.driver.runs("last", [exits(4, 0)]);
    let group = [
        task("last", &hook("poststop", false)),
        task("main", ""),
        task("after", &hook("poststart", false)),
        task("side", &hook("prestart", true)),
        task("first", &hook("prestart", false)),
    ];

    let ended = machine.run("batch", &group.concat()).await;

    assert!(ended.is_ok(), "{ended:?}");
    let mut order = begins_and_ends(&machine);
    // The two prestart tasks begin at the same time, in either order.
    order[..2].sort();
    assert_eq!(
        order,
        [
            "0 start first",
            "0 start side",
            "2 destroy first",
            "2 start main",
            "2 start after",
            "5 destroy after",
            "12 destroy main",
            "12 destroy side",
            "12 start last",
            "16 destroy last",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_leader_ends_before_the_others_and_sidecars_after_them() {
    let machine = Machine::new();
    for ignoring in ["lead", "main", "side"] {
        machine.driver.runs(ignoring, [Run::Ignores]);
    }
    let group = [
        task("side", &format!("{}\n kill_timeout = \"1s\"", hook("prestart", true))),
        task("main", "kill_timeout = \"10s\""),
        task("lead", "leader = true\n kill_timeout = \"20s\""),
    ];
    let agent = machine.begin("service", &group.concat());
    machine.called("start lead", 1).await;

    agent.stop(Stop::Gently);
    agent.end().await.unwrap();

    let ends = |name: &str| machine.driver.times(&format!("destroy {name}"))[0].as_secs();
    assert_eq!((ends("lead"), ends("main"), ends("side")), (20, 30, 31));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_ends_the_others() {
    let machine = Machine::new();
    machine.driver.runs("lead", [exits(7, 0)]);
    let group = [task("other", ""), task("lead", "leader = true")];

    let ended = machine.run("batch", &group.concat()).await;

    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(machine.driver.times("destroy other")[0].as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_for_good_ends_the_others_and_fails_the_job() {
    let machine = Machine::new();
    machine.driver.runs("bad", [exits(3, 9)]);
    let group = [NO_RESTART.to_owned(), task("good", ""), task("bad", "")];

    let ended = machine.run("service", &group.concat()).await;

    assert!(matches!(ended, Err(Failure::Task)), "{ended:?}");
    assert_eq!(machine.driver.times("stop good  5")[0].as_secs(), 3);
    assert_eq!((machine.task("good").phase, machine.task("bad").phase), (Phase::Complete, Phase::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_main_task_is_not_started_after_a_prestart_task_that_failed_and_poststop_tasks_run() {
    let machine = Machine::new();
    machine.driver.runs("first", [exits(1, 1)]);
    machine.driver.runs("last", [exits(1, 0)]);
    let group = [
        NO_RESTART.to_owned(),
        task("first", &hook("prestart", false)),
        task("main", ""),
        task("last", &hook("poststop", false)),
    ];

    let ended = machine.run("service", &group.concat()).await;

    assert!(matches!(ended, Err(Failure::Task)), "{ended:?}");
    assert_eq!(begins_and_ends(&machine), ["0 start first", "1 destroy first", "1 start last", "2 destroy last"]);
    assert_eq!(machine.task("main").phase, Phase::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_main_task_is_not_started_when_the_job_is_stopped_before_its_time() {
    let machine = Machine::new();
    let group = [task("first", &hook("prestart", false)), task("main", "")];
    let agent = machine.begin("service", &group.concat());
    machine.called("start first", 1).await;

    agent.stop(Stop::Gently);
    agent.end().await.unwrap();

    assert_eq!(machine.driver.times("start main").len(), 0);
    assert_eq!((machine.task("first").phase, machine.task("main").phase), (Phase::Complete, Phase::Complete));
}

#[tokio::test(start_paused = true)]
async fn a_poststop_task_runs_through_a_stop_and_is_killed_by_a_second_one() {
    for insists in [false, true] {
        let machine = Machine::new();
        machine.driver.runs("last", [exits(60, 0)]);
        let agent = machine.begin("service", &[task("main", ""), task("last", &hook("poststop", false))].concat());
        machine.called("start main", 1).await;

        agent.stop(Stop::Gently);
        machine.called("start last", 1).await;
        if insists {
            agent.stop(Stop::Now);
        }
        agent.end().await.unwrap();

        let kills = machine.driver.times("stop last SIGKILL 0").len();
        let code = machine.task("last").exit_code;
        let expected = if insists { (1, Some(137)) } else { (0, Some(0)) };
        assert_eq!((kills, code), expected, "insists: {insists}");
    }
}
