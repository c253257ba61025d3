//! What `stop` ends: what is meant, and nothing else, whatever has become of the agent.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use conformance::docker::docker;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};

use crate::{Machine, bars::OnTerminal, groups::Pause, job, orphans::on_a_bridge, text, wait_until};

/// Two allocations that run until they are stopped.
fn two(machine: &Machine, id: &str) -> [String; 2] {
    let text = job(id, "exec sleep 1000", "kill_timeout = \"1ms\"");
    let file = machine.file(&format!("{id}.hcl"), &text.replace("task \"t\"", "count = 2\n task \"t\""));
    let allocs = machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let allocs: Vec<String> = allocs.lines().map(str::to_owned).collect();
    allocs.try_into().unwrap()
}

#[test]
fn an_allocations_id_stops_that_allocation_alone() {
    let machine = Machine::new();
    let [first, second] = two(&machine, "many");
    let other = Machine::container(&second);

    let stopped = machine.ok(&["stop", &first[..8]]);
    let again = machine.ok(&["stop", &first]);

    assert_eq!(stopped, format!("allocation {} of job \"many\" is stopped\n", &first[..8]));
    assert_eq!(again, stopped);
    let state = machine.state("many");
    let statuses = [0, 1].map(|alloc| state["allocs"][alloc]["status"].clone());
    assert_eq!((statuses, &state["status"]), (["complete".into(), "running".into()], &"running".into()));
    assert_eq!((Machine::container(&first), Machine::container(&second)), (String::new(), other));
    machine.ok(&["stop", &second]);
    wait_until("the agent's end", || machine.state("many")["host_pid"].is_null());
    assert_eq!(machine.state("many")["status"], "complete");
}

#[test]
fn an_allocation_can_be_stopped_alone_whose_agent_was_killed() {
    let machine = Machine::new();
    let [first, second] = two(&machine, "orphans");
    let other = Machine::container(&second);
    machine.kill_agent("orphans");

    machine.ok(&["stop", &second]);
    let after = [&first, &second].map(|alloc| Machine::container(alloc));
    assert_eq!((after[0].is_empty(), after[1].as_str()), (false, ""), "{other}");
    assert_eq!(machine.ok(&["exec", &first, "echo", "still here"]), "still here\n");
    machine.kill_process_of("orphans", "driver_pid");
    machine.ok(&["stop", &first]);

    assert_eq!((machine.containers(), machine.state("orphans")["status"].as_str()), (Vec::new(), Some("complete")));
}

#[test]
fn only_a_jobs_whole_id_or_a_persons_yes_purges_it() {
    let machine = Machine::new();
    let [alloc, _] = two(&machine, "shop");

    let prefix = machine.run(&["stop", "-purge", "sho"]);
    let of_alloc = machine.run(&["stop", "-purge", "-yes", &alloc]);
    let mut no = OnTerminal::start(&machine, &["stop", "-purge", "sho"]);
    wait_until("the question", || no.seen().contains("Stop job \"shop\" and remove its logs and directories? [y/N]"));
    no.press("\n");
    let no = no.child.wait().unwrap();
    let before = (machine.containers().len(), machine.state("shop")["status"].clone());
    let mut yes = OnTerminal::start(&machine, &["stop", "-purge", "sho"]);
    wait_until("the question", || yes.seen().contains("[y/N]"));
    yes.press("y\n");
    let yes = yes.child.wait().unwrap();

    for (output, said) in [(&prefix, "give its full id, or -yes"), (&of_alloc, "only jobs can be purged")] {
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
    assert_eq!((no.code(), before), (Some(2), (2, "running".into())));
    assert_eq!((yes.code(), machine.run(&["status", "shop"]).status.code()), (Some(0), Some(2)));
    assert_eq!(machine.allocs(), Vec::<String>::new());
}

#[test]
fn a_beginning_that_several_ids_have_is_refused_with_all_of_them() {
    let machine = Machine::new();
    let file = |id: &str| machine.file(&format!("{id}.hcl"), &job(id, "exec sleep 1000", "kill_timeout = \"1ms\""));
    for id in ["shop", "shopping"] {
        machine.ok(&["run", "-detach", file(id).to_str().unwrap()]);
    }

    for args in [["stop", "sho"].as_slice(), &["stop", "-purge", "-yes", "sho"], &["exec", "sho", "true"]] {
        let output = machine.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = text(&output.stderr);
        assert!(said.contains("\"sho\" is ambiguous: job shop, job shopping"), "{said}");
    }

    // A whole id is meant, whatever else begins so.
    machine.ok(&["stop", "-purge", "shop"]);
    assert_eq!(machine.state("shopping")["status"], "running");
    machine.ok(&["stop", "-purge", "-yes", "shoppi"]);
    assert_eq!(machine.ok(&["status"]), "No jobs\n");
}

#[test]
fn a_job_can_be_stopped_whose_agent_and_driver_were_killed() {
    let machine = Machine::new();
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let file = machine.file("job.hcl", &job("both", script, ""));
    for _ in 1..=3 {
        machine.ok(&["run", "-detach", file.to_str().unwrap()]);

        machine.kill_agent_and_driver("both");
        machine.ok(&["stop", "both"]);

        let state = machine.state("both");
        let task = Machine::task(&state, "t");
        assert_eq!((task["status"].as_str(), task["exit_code"].as_i64()), (Some("complete"), Some(0)));
        assert_eq!((machine.containers(), state["driver_pid"].as_i64()), (Vec::new(), None));
    }
}

#[test]
fn a_job_can_be_stopped_whose_agent_and_driver_were_killed_before_they_had_recorded_its_start() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("early", "exec sleep 1000", ""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    machine.kill_agent_and_driver("early");
    let mut state = machine.noted("early");
    let task = &mut state["allocs"][0]["tasks"]["t"];
    (task["phase"], task["handle"]) = ("pending".into(), serde_json::Value::Null);
    std::fs::write(machine.path().join("data/jobs/early/state.json"), state.to_string()).unwrap();

    machine.ok(&["stop", "early"]);

    assert_eq!((machine.containers(), machine.state("early")["status"].as_str()), (Vec::new(), Some("complete")));
}

#[test]
fn a_group_on_a_bridge_can_be_stopped_whose_agent_and_driver_were_killed() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "both");
    let file = machine.file("job.hcl", &on_a_bridge("bridged", "", "exec sleep 1000")).display().to_string();
    machine.ok(&["-config", &config, "run", "-detach", &file]);

    machine.kill_agent_and_driver("bridged");
    machine.stop_orphan("bridged", &["-config", &config]);

    assert_eq!(pause.containers(), "");
}

#[test]
fn a_job_can_be_stopped_whose_container_went_after_agent_and_driver() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("nothing", "exec sleep 1000", ""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    machine.kill_agent_and_driver("nothing");
    docker(&["rm", "--force", &machine.containers()[0]]);

    machine.ok(&["stop", "nothing"]);

    assert_eq!(machine.state("nothing")["status"], "complete");
}

#[test]
fn a_process_that_has_the_number_of_an_agent_of_old_is_left_alone_and_nobody_waits_without_end() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("stale", "exec sleep 1000", "kill_timeout = \"1ms\""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    machine.kill_agent("stale");
    let mut stranger = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let path = machine.path().join("data/jobs/stale");
    let mut state = machine.noted("stale");
    state["host"]["pid"] = stranger.id().into();
    std::fs::write(path.join("state.json"), state.to_string()).unwrap();
    let lock = File::open(path.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();

    let held = machine.run(&["stop", "stale"]);
    let before = (machine.state("stale")["host_pid"].clone(), machine.containers().len());
    drop(lock);
    machine.ok(&["stop", "stale"]);

    assert_eq!(held.status.code(), Some(3));
    assert!(
        text(&held.stderr).contains("another process, which is not its agent, holds its lock"),
        "{}",
        text(&held.stderr)
    );
    assert_eq!(before, (serde_json::Value::Null, 1));
    assert_eq!((stranger.try_wait().unwrap(), machine.containers()), (None, Vec::new()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_driver_that_does_not_answer_is_not_waited_for_without_end() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("hung", "exec sleep 1000", "kill_timeout = \"1ms\""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let driver = Pid::from_raw(machine.state("hung")["driver_pid"].as_i64().unwrap().try_into().unwrap()).unwrap();
    machine.kill_agent("hung");

    kill_process(driver, Signal::STOP).unwrap();
    let state = machine.state("hung");
    let stop = machine.run(&["stop", "hung"]);
    kill_process(driver, Signal::CONT).unwrap();
    machine.ok(&["stop", "hung"]);

    assert_eq!((&state["status"], &state["why"]), (&"unknown".into(), &"its driver does not answer within 5 s".into()));
    assert_eq!(stop.status.code(), Some(3));
    let expected = format!("process {}, does not answer within 10 s\nhint: kill -9 ", driver.as_raw_nonzero());
    assert!(text(&stop.stderr).contains(&expected), "{}", text(&stop.stderr));
    assert_eq!(machine.containers(), Vec::<String>::new());
}
