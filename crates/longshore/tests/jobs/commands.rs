//! Each verb of the command line, as a person or a program uses it.

use std::{
    io::{Read, Write},
    process::Stdio,
};

use serde_json::Value;

use crate::{Machine, job, text, wait_until};

#[test]
fn a_job_is_validated_and_the_machine_is_fingerprinted() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("job", "exit 0", "service { name = \"x\" }"));

    let validated = machine.run(&["validate", file.to_str().unwrap()]);
    let fingerprint: Value = serde_json::from_str(&machine.ok(&["fingerprint", "-json"])).unwrap();

    assert_eq!((validated.status.code(), text(&validated.stdout)), (Some(0), "Job validation successful\n".into()));
    assert_eq!(text(&validated.stderr), "==> `service` is ignored on one machine\n");
    assert_eq!(
        (&fingerprint["attributes"]["driver.docker"], &fingerprint["health"]),
        (&"true".into(), &"Healthy".into())
    );
}

#[test]
fn a_command_ends_while_its_input_is_open() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("shell", "exec sleep 1000", "kill_timeout = \"1ms\""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let mut exec = machine.command(&["exec", "-i", "shell", "/bin/sh"]);
    let mut exec = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = exec.stdin.take().unwrap();

    input.write_all(b"echo out; exit 7\n").unwrap();
    wait_until("the end of exec", || exec.try_wait().unwrap().is_some());
    let mut output = String::new();
    exec.stdout.take().unwrap().read_to_string(&mut output).unwrap();

    assert_eq!((exec.wait().unwrap().code(), output.as_str()), (Some(7), "out\n"));
    drop(input);
}

#[test]
fn a_second_run_of_a_job_is_refused_and_leaves_the_first_ones_words_alone() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("once", "exec sleep 1000", "kill_timeout = \"1ms\""));
    let path = file.to_str().unwrap();
    machine.ok(&["run", "-detach", path]);
    let said = || std::fs::read_to_string(machine.path().join("data/jobs/once/agent.log")).unwrap();
    let before = said();

    for args in [["run", "-detach", path].as_slice(), &["run", path]] {
        let again = machine.run(args);
        assert_eq!(again.status.code(), Some(2));
        assert!(text(&again.stderr).starts_with("Error: job \"once\" runs already"), "{}", text(&again.stderr));
    }

    assert!(before.contains("Started") && said() == before, "{}", said());
}

#[test]
fn a_quiet_run_prints_nothing_and_a_verbose_one_what_the_driver_logs() {
    let machine = Machine::new();
    let batch = job("loud", "true", "").replace("group", "type = \"batch\"\n group");
    let file = machine.file("job.hcl", &batch).display().to_string();
    let printed = |level: &[&str], filter: Option<&str>| {
        let mut command = machine.command(&[&["run", &file], level].concat());
        command.env_remove("LONGSHORE_LOG").envs(filter.map(|filter| ("LONGSHORE_LOG", filter)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stderr)
    };

    let (quiet, normal) = (printed(&["-q"], None), printed(&[], None));
    let (info, debug, filtered) = (printed(&["-v"], None), printed(&["-vv"], None), printed(&["-vv"], Some("error")));

    let from_the_driver = |said: &str| said.matches("==> driver: ").count();
    assert_eq!(quiet, "");
    assert!(normal.contains("Started: Task started by client") && from_the_driver(&normal) == 0, "{normal}");
    assert!(from_the_driver(&info) > 0 && from_the_driver(&debug) > from_the_driver(&info), "{info}\n{debug}");
    assert_eq!(from_the_driver(&filtered), 0, "{filtered}");
}

#[test]
fn a_job_comes_from_standard_input() {
    let machine = Machine::new();
    for args in [["run", "-"].as_slice(), &["run", "-detach", "-"]] {
        let mut run = machine.command(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        run.stdin
            .take()
            .unwrap()
            .write_all(job("piped", "echo here", "").replace("group", "type = \"batch\"\n group").as_bytes())
            .unwrap();

        assert_eq!(run.wait().unwrap().code(), Some(0), "{args:?}");
        wait_until("the end", || machine.state("piped")["status"] == "complete");
        assert_eq!(machine.logs("piped"), "here\n");
    }
}

#[test]
fn a_tasks_last_lines_are_shown_whichever_way_it_is_named() {
    let machine = Machine::new();
    let text_of = job("many", "echo one; echo two; echo err >&2; exec sleep 1000", "kill_timeout = \"1ms\"");
    let file = machine.file("job.hcl", &text_of.replace("task \"t\"", "count = 2\n task \"t\""));
    let allocs = machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let alloc = &allocs[..8];
    wait_until("the lines", || machine.ok(&["logs", "-stderr", alloc]).contains("err"));

    assert_eq!(machine.ok(&["logs", alloc]), "one\ntwo\n");
    assert_eq!(machine.ok(&["logs", "-tail", "-n", "1", alloc, "t"]), "two\n");
    assert_eq!(machine.ok(&["logs", "-c=3", "-task", "t", alloc]), "wo\n");
    assert_eq!(machine.ok(&["logs", "-stderr", "-task=t", alloc]), "err\n");
    assert_eq!(machine.ok(&["exec", "-task", "t", alloc, "echo", "-task"]), "-task\n");
    assert_eq!(machine.ok(&["exec", "-job", "many", "echo", "any"]), "any\n");
    let which = machine.run(&["logs", "many"]);
    assert_eq!(which.status.code(), Some(2));
    assert!(text(&which.stderr).ends_with("hint: name the allocation, or use -job\n"), "{}", text(&which.stderr));
    let usage = machine.ok(&["stats", "-json", "many", "t"]);
    let order: Vec<Value> = usage.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        order.iter().map(|usage| usage["alloc"].as_str().unwrap()).collect::<Vec<_>>(),
        allocs.lines().collect::<Vec<_>>()
    );
}

#[test]
fn a_purged_job_leaves_nothing() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("gone", "exec sleep 1000", "kill_timeout = \"1ms\""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let containers = machine.containers();

    machine.ok(&["stop", "-purge", "gone"]);

    assert_eq!(containers.len(), 1);
    assert_eq!(
        conformance::docker::docker(&["ps", "--all", "--quiet", "--filter", &format!("id={}", containers[0])]),
        ""
    );
    assert_eq!(machine.allocs(), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(machine.path().join("data/jobs")).unwrap().count(), 0);
}

#[test]
fn a_jobs_status_says_that_its_agent_is_not_running_and_shows_no_secrets() {
    let machine = Machine::new();
    let more = "kill_timeout = \"1ms\"\n env { TOKEN = \"hunter2\" }";
    let file = machine.file("job.hcl", &job("quiet", "exec sleep 1000", more));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let running = machine.state("quiet");

    machine.kill_agent("quiet");

    assert_eq!((&running["status"], &running["allocs"][0]["name"]), (&"running".into(), &"quiet.g[0]".into()));
    assert!(
        machine.ok(&["status", "quiet"]).contains("Agent       = not running; `longshore run FILE` recovers its tasks")
    );
    assert!(!machine.ok(&["status", "-json"]).contains("hunter2"));
}

#[test]
fn the_drivers_older_options_in_an_agents_file_hold() {
    let machine = Machine::new();
    let agent = |privileged: &str| {
        let text = format!("client {{\n  options {{\n    \"docker.privileged.enabled\" = \"{privileged}\"\n  }}\n}}\n");
        machine.file(&format!("{privileged}.hcl"), &text).to_str().unwrap().to_owned()
    };
    let attributes = |config: &str| machine.ok(&["-config", config, "fingerprint"]);

    assert!(attributes(&agent("true")).contains("driver.docker.privileged.enabled = true"));
    assert!(!attributes(&agent("false")).contains("privileged"));
    let wrong = machine.run(&["-config", &agent("perhaps"), "fingerprint"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("\"docker.privileged.enabled\" needs"), "{}", text(&wrong.stderr));
}

#[test]
fn a_jobs_driver_has_its_state_with_the_job() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("kept", "sleep 60", ""));

    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let ledgers = machine.path().join("data/jobs/kept/driver/images");
    wait_until("the ledger of images", || std::fs::read_dir(&ledgers).is_ok_and(|found| found.count() == 1));
    machine.ok(&["stop", "kept"]);
}
