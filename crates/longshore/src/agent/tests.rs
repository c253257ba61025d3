//! Jobs from lock to unlock with the fake driver.

use std::time::Duration;

use super::*;
use crate::{
    fake_driver::{Machine, Run, task},
    stop::Stop,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_job_whose_task_ends_well_ends_well_and_its_driver_with_it() {
    let machine = Machine::new();
    machine.driver.runs("t", [Run::Exits(5 * SECOND, 0)]);

    let ended = machine.run("batch", &task("t", "")).await;

    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(machine.driver.calls(), ["0 launch", "0 start t", "5 destroy t", "5 shutdown"]);
    let state = machine.state().unwrap();
    assert_eq!((state.phase(), state.driver, state.placed), (Phase::Complete, None, true));
}

#[tokio::test(start_paused = true)]
async fn a_job_has_one_agent() {
    let machine = Machine::new();
    let first = machine.begin("service", &task("t", ""));
    machine.called("start t", 1).await;

    let second = machine.run("service", &task("t", "")).await;

    let expected = format!("job \"j\" runs already, under process {}\nhint: longshore stop j", std::process::id());
    assert_eq!(second.unwrap_err().to_string(), expected);
    first.stop(Stop::Gently);
    first.end().await.unwrap();
    assert_eq!(machine.driver.times("start t").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_takes_over_the_tasks_that_a_killed_one_left() {
    let machine = Machine::new();
    machine.driver.runs("t", [Run::Exits(60 * SECOND, 0)]);
    let killed = machine.begin("batch", &task("t", ""));
    machine.called("start t", 1).await;
    killed.kill().await;

    let ended = machine.run("batch", &task("t", "")).await;

    assert!(ended.is_ok(), "{ended:?}");
    let expected = ["0 launch", "0 start t", "0 launch", "0 recover t", "60 destroy t", "60 shutdown"];
    assert_eq!(machine.driver.calls(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_starts_a_task_again_that_failed_while_there_was_none() {
    let machine = Machine::new();
    machine.driver.runs("t", [Run::Ignores, Run::Exits(SECOND, 0)]);
    let killed = machine.begin("batch", &task("t", ""));
    machine.called("start t", 1).await;
    killed.kill().await;
    machine.driver.exit("t", 3);

    let ended = machine.run("batch", &task("t", "")).await;

    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!((machine.driver.times("recover t").len(), machine.driver.times("start t").len()), (1, 2));
    assert_eq!(machine.task("t").restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_under_one_agent_is_not_run_again_by_the_next() {
    let machine = Machine::new();
    machine.driver.runs("short", [Run::Exits(SECOND, 0)]);
    machine.driver.runs("long", [Run::Exits(60 * SECOND, 0)]);
    let group = [task("short", ""), task("long", "")].concat();
    let killed = machine.begin("batch", &group);
    machine.called("destroy short", 1).await;
    killed.kill().await;

    let ended = machine.run("batch", &group).await;

    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!((machine.driver.times("start short").len(), machine.driver.times("start long").len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_dies_is_replaced_and_its_tasks_run_on() {
    let machine = Machine::new();
    machine.driver.runs("t", [Run::Exits(60 * SECOND, 0)]);
    let agent = machine.begin("batch", &task("t", ""));
    machine.called("start t", 1).await;

    machine.driver.cannot_be_launched(3);
    machine.driver.kill_process();
    let ended = agent.end().await;

    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!((machine.driver.times("start t").len(), machine.driver.times("recover t").len()), (1, 1));
    let launches = machine.driver.times("launch");
    let pauses: Vec<u128> = launches[1..].windows(2).map(|pair| pair[1].abs_diff(pair[0]).as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400], "{launches:?}");
    assert_eq!((machine.task("t").exit_code, machine.task("t").restarts), (Some(0), 0));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_be_placed_leaves_no_trace_and_one_that_ran_before_its_last_run() {
    let machine = Machine::new();
    let unmet = "  constraint {\n attribute = \"${attr.kernel.name}\"\n value = \"plan9\"\n }\n";
    let group = format!("{unmet}{}", task("t", ""));
    let allocs = || std::fs::read_dir(machine.data().path().join("alloc")).map_or(0, Iterator::count);

    let never_ran = machine.run("batch", &group).await;
    let trace = (machine.state().is_some(), allocs());
    machine.driver.runs("t", [Run::Exits(SECOND, 0)]);
    machine.run("batch", &task("t", "")).await.unwrap();
    let ran = machine.state();
    let again = machine.run("batch", &group).await;

    assert!(
        matches!((&never_ran, &again), (Err(Failure::Usage(_)), Err(Failure::Usage(_)))),
        "{never_ran:?} {again:?}"
    );
    assert_eq!((trace, machine.state()), ((false, 0), ran));
    assert_eq!(machine.driver.times("start t").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_allocation_is_stopped_alone() {
    let machine = Machine::new();
    let agent = machine.begin("service", &format!("  count = 2\n{}", task("t", "")));
    machine.called("start t", 2).await;
    let allocs: Vec<String> = machine.state().unwrap().allocs.into_iter().map(|alloc| alloc.id).collect();

    machine.data().ask_to_stop("j", &allocs[1]).unwrap();
    agent.wake();
    machine.called("destroy t", 1).await;
    let phases: Vec<Phase> = machine.state().unwrap().allocs.iter().map(|alloc| alloc.tasks["t"].phase).collect();
    let asked = machine.data().asked_to_stop("j").unwrap();
    agent.stop(Stop::Gently);
    agent.end().await.unwrap();

    assert_eq!((phases, asked), (vec![Phase::Running, Phase::Complete], Vec::new()));
    assert_eq!(machine.driver.times("destroy t").len(), 2);
}
