//! `run -detach`: when a job has started, and what is reported where it has not.

use std::{net::TcpListener, process::Stdio};

use conformance::{
    image, kill,
    registry::{Access, Registry},
};

use crate::{Machine, job, orphans::stalling, text, wait_until};

const ONCE: &str = "restart {\n attempts = 0\n mode = \"fail\"\n }";

#[test]
fn a_job_that_fails_at_once_is_always_an_error_that_says_why() {
    let machine = Machine::new();
    let script = "seq 1 50 >&2; printf '\\033[2Jred\\n' >&2; exit 3";
    let file = machine.file("job.hcl", &job("failing", script, &format!("{ONCE}\n service {{ name = \"x\" }}")));

    for round in 1..=3 {
        let output = machine.run(&["run", "-detach", file.to_str().unwrap()]);

        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "round {round}: {said}");
        assert!(said.contains("==> `service` is ignored on one machine\n"), "{said}");
        let alloc = machine.state("failing")["allocs"][0]["id"].as_str().unwrap()[..8].to_owned();
        assert!(said.contains(&format!("==> task \"t\" of allocation {alloc} failed: Exit Code: 3")), "{said}");
        assert!(said.contains("; Policy allows no restarts\n"), "{said}");
        assert!(said.contains("t: 42\n") && !said.contains("t: 41\n"), "the last ten lines are shown: {said}");
        assert!(said.contains("t: \u{fffd}[2Jred\n") && !said.contains('\u{1b}'), "{said}");
        assert!(said.ends_with("Error: a task failed\n"), "{said}");
        assert_eq!((machine.state("failing")["status"].as_str(), machine.containers()), (Some("failed"), Vec::new()));
    }
}

#[test]
fn a_service_that_may_not_be_started_again_has_failed_although_it_ended_well() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("over", "exit 0", ONCE));

    let output = machine.run(&["run", "-detach", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("failed: Exit Code: 0; Policy allows no restarts\n"), "{output:?}");
    assert_eq!(machine.state("over")["status"], "failed");
}

#[test]
fn a_batch_job_that_ends_well_at_once_was_started() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("quick", "exit 0", "").replace("group", "type = \"batch\"\n group"));

    for _ in 1..=2 {
        let output = machine.run(&["run", "-detach", file.to_str().unwrap()]);

        let state = machine.state("quick");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout).trim(), state["allocs"][0]["id"].as_str().unwrap());
        wait_until("the agent's end", || machine.state("quick")["host_pid"].is_null());
    }
}

#[test]
fn a_task_that_is_started_again_is_waited_for_until_it_runs_or_has_failed() {
    let machine = Machine::new();
    let restart =
        |attempts: u32| format!("restart {{\n attempts = {attempts}\n delay = \"300ms\"\n mode = \"fail\"\n }}");
    let script = "[ -e /alloc/data/tried ] || { touch /alloc/data/tried; exit 3; }; exec sleep 1000";
    let file = machine.file("job.hcl", &job("second", script, &format!("kill_timeout = \"1ms\"\n{}", restart(1))));
    let never = machine.file("never.hcl", &job("never", "exit 3", &restart(2)));

    let second = machine.run(&["run", "-detach", file.to_str().unwrap()]);
    let never = machine.run(&["run", "-detach", never.to_str().unwrap()]);

    let said = text(&second.stderr);
    assert_eq!(second.status.code(), Some(0), "{said}");
    assert!(said.contains("Exit Code: 3") && said.contains("restarts in 1s\n"), "{said}");
    let state = machine.state("second");
    let task = Machine::task(&state, "t");
    assert_eq!((task["status"].as_str(), task["restarts"].as_i64()), (Some("running"), Some(1)));
    assert_eq!(never.status.code(), Some(1));
    assert!(text(&never.stderr).contains("; Exceeded allowed attempts\n"), "{}", text(&never.stderr));
    assert_eq!(machine.state("never")["allocs"][0]["tasks"]["t"]["restarts"], 2);
}

#[test]
fn what_a_job_needs_and_cannot_get_is_the_same_error_as_in_the_foreground() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let port = format!("group \"g\" {{\n network {{\n port \"http\" {{ static = {taken} }}\n }}");
    let good = job("wanting", "exec sleep 1000", ONCE);
    for (content, code, expected) in [
        (good.replace(&image(), "127.0.0.1:9/none:1"), 1, "failed: Failed to pull `127.0.0.1:9/none:1`"),
        (good.replace("group \"g\" {", &port), 2, "is taken"),
    ] {
        let file = machine.file("job.hcl", &content);
        let output = machine.run(&["run", "-detach", file.to_str().unwrap()]);

        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
        assert_eq!(machine.containers(), Vec::<String>::new());
    }
}

#[test]
fn a_group_that_fails_is_an_error_though_others_run_and_is_reported_ever_after() {
    let machine = Machine::new();
    let group = |name: &str, script: &str| {
        let text =
            job("two", script, &format!("{ONCE}\n kill_timeout = \"1ms\"")).replace("\"g\"", &format!("{name:?}"));
        let (_, text) = text.split_once('\n').unwrap();
        text.trim_end().strip_suffix('}').unwrap().to_owned()
    };
    let content = format!("job \"two\" {{\n{}{}}}\n", group("bad", "exit 3"), group("good", "exec sleep 1000"));
    let file = machine.file("job.hcl", &content);

    let output = machine.run(&["run", "-detach", file.to_str().unwrap()]);

    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the job's other allocations keep running; `longshore stop two` ends them"), "{said}");
    let runs = || machine.state("two")["allocs"][1]["status"] == "running";
    wait_until("the other group", runs);
    let state = machine.state("two");
    assert_eq!((&state["status"], &state["allocs"][0]["status"]), (&"failed".into(), &"failed".into()));
    assert_eq!(state["why"], "1 of 2 allocations failed, 1 running");
    assert!(machine.ok(&["status"]).lines().any(|line| line.starts_with("two ") && line.contains("failed")));
    assert_eq!(machine.containers().len(), 1);
    machine.ok(&["stop", "two"]);
    assert_eq!(machine.containers(), Vec::<String>::new());
}

#[test]
fn an_agent_that_dies_before_the_job_runs_is_an_error_that_says_so() {
    let (machine, mut registry) = (Machine::new(), Registry::start(Access::Anonymous));
    let (registry, wanted) = stalling(&mut registry);
    let file = machine.file("job.hcl", &job("early", "exec sleep 1000", "").replace(&image(), &wanted));
    let mut run = machine.command(&["run", "-detach", file.to_str().unwrap()]);
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the pull", || registry.holding() > 0);

    kill([machine.state("early")["host_pid"].as_i64().unwrap().try_into().unwrap()]);
    let output = run.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("the job's agent was killed by signal 9\n"), "{}", text(&output.stderr));
    machine.stop_orphan("early", &[]);
}
