//! What `status` and `exec` say of jobs that are not as their agents left them.

use conformance::{docker::docker, dockerd::Dockerd};

use crate::{Machine, job, orphans::with_engine, text, wait_until};

#[test]
fn a_job_without_an_agent_is_lost_and_so_are_its_containers_when_they_end() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("left", "exec sleep 1000", "kill_timeout = \"1ms\""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let task = || {
        let state = machine.state("left");
        (state["status"].clone(), Machine::task(&state, "t")["status"].clone())
    };
    let with_agent = task();

    machine.kill_agent("left");
    let without_agent = task();
    docker(&["rm", "--force", &machine.containers()[0]]);
    wait_until("the container's end", || task().1 == "lost");
    let said = machine.ok(&["status", "left"]);
    let exec = machine.run(&["exec", "left", "true"]);

    assert_eq!(with_agent, ("running".into(), "running".into()));
    assert_eq!(without_agent, ("lost".into(), "running".into()));
    assert!(
        said.contains("Status      = lost: its agent is not running\nAgent       = not running;")
            || said.contains("Status      = lost: its container has exited"),
        "{said}"
    );
    assert_eq!(exec.status.code(), Some(2));
    assert!(text(&exec.stderr).contains("is lost (its container has exited and its agent is not running)"), "{exec:?}");
}

#[test]
fn a_job_of_which_nobody_can_be_asked_is_unknown() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("silent", "exec sleep 1000", "kill_timeout = \"1ms\""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);

    machine.kill_agent_and_driver("silent");
    wait_until("the ends", || machine.state("silent")["why"] == "its driver is not running");
    let state = machine.state("silent");
    let exec = machine.run(&["exec", "silent", "true"]);

    assert_eq!((&state["status"], &Machine::task(&state, "t")["status"]), (&"unknown".into(), &"unknown".into()));
    assert_eq!(exec.status.code(), Some(2));
    assert!(text(&exec.stderr).contains("is unknown (its driver is not running)"), "{exec:?}");
}

#[test]
fn a_job_whose_engine_is_dead_is_unknown_until_that_is_back_and_runs_on() {
    let (machine, mut engine) = (Machine::new(), Dockerd::start());
    let config = with_engine(&machine, &engine);
    let file = machine.file("job.hcl", &job("away", "exec sleep 1000", "kill_timeout = \"1ms\""));
    machine.ok(&["-config", &config, "run", "-detach", file.to_str().unwrap()]);

    engine.kill();
    let state = machine.state("away");
    let driver = state["driver_pid"].as_i64().unwrap();
    // Its successor cannot take the task over before the engine is back.
    conformance::kill([driver.try_into().unwrap()]);
    wait_until("another driver", || machine.state("away")["driver_pid"].as_i64().is_some_and(|pid| pid != driver));
    let without_engine = machine.state("away")["status"].clone();
    engine.begin();
    wait_until("the task", || machine.state("away")["status"] == "running");
    let back = machine.state("away");
    let exec = machine.ok(&["exec", "away", "echo", "still here"]);
    machine.ok(&["-config", &config, "stop", "away"]);

    assert_eq!((&state["status"], without_engine), (&"unknown".into(), "unknown".into()));
    assert!(state["why"].as_str().unwrap().contains("cannot connect to the Docker daemon"), "{}", state["why"]);
    let task = Machine::task(&back, "t");
    assert_eq!((task["status"].as_str(), task["restarts"].as_i64()), (Some("running"), Some(0)));
    assert_eq!(exec, "still here\n");
    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn exec_says_how_the_tasks_are_that_are_meant_and_finds_the_one_that_runs() {
    let machine = Machine::new();
    let runs = job("mixed", "exec sleep 1000", "kill_timeout = \"1ms\"");
    let begin = runs.find("    task").unwrap();
    let end = runs.rfind("  }\n}").unwrap();
    let short = runs[begin..end].replace("task \"t\"", "task \"short\"").replace("exec sleep 1000", "exit 0");
    let content =
        format!("{}{short}{}", &runs[..end], &runs[end..]).replace("group \"g\"", "type = \"batch\"\n group \"g\"");
    let file = machine.file("job.hcl", &content);
    let alloc = machine.ok(&["run", "-detach", file.to_str().unwrap()])[..8].to_owned();

    let other = machine.run(&["exec", "-task", "short", "mixed", "true"]);

    assert_eq!(other.status.code(), Some(2));
    let expected = format!("no matching task is running: task \"short\" of allocation {alloc} is complete\n");
    assert!(text(&other.stderr).ends_with(&expected), "{}", text(&other.stderr));
    assert_eq!(machine.ok(&["exec", "mixed", "echo", "here"]), "here\n");
}
