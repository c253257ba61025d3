//! A job's life: run, interrupted, killed, found again.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use conformance::{
    docker::docker,
    image, kill,
    lines::{Judgement, judge, last_number},
    signal,
};
use serde_json::Value;

use crate::{Machine, job, text, wait_until};

const STEADY: &str = "n=0; while :; do n=$((n+1)); echo \"a $n\"; sleep 0.005; done";

/// A job in the foreground.
pub(crate) struct Foreground(Child);

impl Foreground {
    fn start(machine: &Machine, file: &Path) -> Self {
        Self::begin(&mut machine.command(&["run", file.to_str().unwrap()]))
    }

    pub(crate) fn begin(run: &mut Command) -> Self {
        Self(run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Kills the agent, and waits until it has exited.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(i32::try_from(self.0.id()).unwrap(), name);
    }

    /// Its exit code and what it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

#[test]
fn the_example_runs_answers_and_stops_without_a_trace() {
    let machine = Machine::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/web.nomad.hcl");
    let variable = format!("image={}", image());

    let alloc = machine.ok(&["run", "-detach", "-var", &variable, example]).trim().to_owned();
    let state = machine.state("web");
    let port = state["allocs"][0]["ports"][0]["value"].as_i64().unwrap();
    assert_eq!(
        (state["allocs"][0]["id"].as_str(), Machine::task(&state, "server")["status"].as_str()),
        (Some(alloc.as_str()), Some("running"))
    );
    let answer = answer(port, "/");
    assert!(answer.contains("Hello from Longshore: web.front[0] listens on 127.0.0.1"), "{answer}");

    let exec = machine.run(&["exec", "web", "/bin/sh", "-c", "echo out; echo err >&2; echo $NOMAD_TASK_NAME; exit 7"]);
    assert_eq!(
        (exec.status.code(), text(&exec.stdout), text(&exec.stderr)),
        (Some(7), "out\nserver\n".into(), "err\n".into())
    );
    let mut wc = machine
        .command(&["exec", "-i", &alloc[..8], "wc", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wc.stdin.take().unwrap().write_all(b"hello").unwrap();
    assert_eq!(text(&wc.wait_with_output().unwrap().stdout).trim(), "5");

    machine.ok(&["signal", "-s", "SIGUSR1", "web"]);
    wait_until("the signal's line", || machine.logs("web").contains("got SIGUSR1"));
    let usage: Value = serde_json::from_str(&machine.ok(&["stats", "-json", "web"])).unwrap();
    assert!(usage["memory_bytes"].as_u64() > Some(0), "{usage}");

    let mut following = machine.command(&["logs", "-f", "web"]).stdout(Stdio::piped()).spawn().unwrap();
    machine.ok(&["stop", "web"]);
    let mut followed = String::new();
    following.stdout.take().unwrap().read_to_string(&mut followed).unwrap();
    assert!(following.wait().unwrap().success());

    assert!(followed.ends_with("bye\n"), "{followed}");
    let state = machine.state("web");
    let task = Machine::task(&state, "server");
    assert_eq!((task["status"].as_str(), task["exit_code"].as_i64()), (Some("complete"), Some(0)));
    let kinds: Vec<&str> =
        task["events"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, ["Started", "Killing", "Killed"]);
    assert_eq!(machine.containers(), Vec::<String>::new());
}

/// The answer to a request.
pub(crate) fn answer(port: i64, path: &str) -> String {
    conformance::http::answer(format!("127.0.0.1:{port}"), path)
}

#[test]
fn each_jobs_container_is_known_from_those_of_other_agents() {
    let machine = Machine::new();
    for id in ["one", "other"] {
        let file = machine.file(&format!("{id}.hcl"), &job(id, "sleep 60", ""));
        machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    }

    let nodes: Vec<String> = ["one", "other"]
        .map(|id| {
            let alloc = machine.state(id)["allocs"][0]["id"].as_str().unwrap().to_owned();
            let label = "{{index .Config.Labels \"com.hashicorp.nomad.node_id\"}}";
            docker(&["inspect", "--format", label, &format!("t-{alloc}")]).trim().to_owned()
        })
        .into();

    let jobs = machine.path().join("data/jobs");
    assert_eq!(nodes, ["one", "other"].map(|id| jobs.join(id).display().to_string()));
    for id in ["one", "other"] {
        machine.ok(&["stop", id]);
    }
}

#[test]
fn an_interrupt_stops_a_foreground_job_within_its_time_and_says_so() {
    let machine = Machine::new();
    let file =
        machine.file("job.hcl", &job("polite", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done", ""));
    let foreground = Foreground::start(&machine, &file);
    wait_until("the task", || {
        machine.containers().len() == 1 && machine.ok(&["status", "polite"]).contains("is running")
    });

    foreground.signal("INT");
    let (code, said) = foreground.end();

    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopping the job; interrupt again to kill it"), "{said}");
    assert!(said.contains("t: Killed: Exit Code: 0"), "{said}");
    assert_eq!(machine.containers(), Vec::<String>::new());
}

#[test]
fn a_second_interrupt_kills_a_job_that_takes_its_time() {
    let machine = Machine::new();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let file = machine.file("job.hcl", &job("stubborn", script, "kill_timeout = \"10m\""));
    let foreground = Foreground::start(&machine, &file);
    wait_until("the task", || text(&machine.run(&["logs", "stubborn"]).stdout).contains("ready"));

    foreground.signal("INT");
    wait_until("the first interrupt", || machine.ok(&["events", "stubborn"]).contains("Sent interrupt"));
    foreground.signal("INT");
    let (_, said) = foreground.end();

    assert!(said.contains("killing the job"), "{said}");
    assert!(said.contains("t: Killed: Exit Code: 137"), "{said}");
    assert_eq!(machine.containers(), Vec::<String>::new());
}

#[test]
fn a_kill_signal_that_there_is_not_is_refused_and_a_real_time_one_arrives() {
    let machine = Machine::new();
    let script = "trap 'echo got it; exit 0' 37; echo ready; while :; do sleep 0.05; done";
    let with = |signal: &str| job("odd", script, &format!("kill_signal = \"{signal}\""));
    for signal in ["SIGFOO", "TERM", "9", "SIGRTMIN+16", "SIGNULL"] {
        let file = machine.file("job.hcl", &with(signal));
        for verb in ["validate", "run"] {
            let refused = machine.run(&[verb, file.to_str().unwrap()]);
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{verb} {signal}: {said}");
            assert!(said.contains("kill_signal") && said.contains(&format!("{signal:?}")), "{said}");
        }
    }
    assert_eq!(machine.ok(&["status"]), "No jobs\n");

    let file = machine.file("job.hcl", &with("SIGRTMIN+3"));
    machine.ok(&["validate", file.to_str().unwrap()]);
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    wait_until("the trap", || machine.logs("odd").contains("ready"));
    machine.ok(&["stop", "odd"]);

    assert!(machine.logs("odd").ends_with("got it\n"));
    assert_eq!(Machine::task(&machine.state("odd"), "t")["exit_code"], 0);
}

#[test]
fn a_killed_driver_is_started_again_and_the_log_has_no_gap() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("steady", STEADY, ""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let containers = machine.containers();
    let driver = || machine.state("steady")["driver_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());

    for round in 1..=2 {
        wait_until("lines", || last_number(machine.logs("steady").as_bytes(), "a") > 200 * round);
        let killed = driver().unwrap();
        kill([killed]);
        wait_until("another driver", || driver().is_some_and(|pid| pid != killed));
    }
    wait_until("lines after the last kill", || last_number(machine.logs("steady").as_bytes(), "a") > 700);
    assert_eq!(machine.containers(), containers);
    assert_eq!(machine.state("steady")["allocs"][0]["tasks"]["t"]["restarts"], 0);
    machine.ok(&["stop", "steady"]);

    let log = machine.logs("steady");
    assert_eq!(judge(log.as_bytes(), "a", last_number(log.as_bytes(), "a")), Judgement::default());
}

#[test]
fn a_killed_agent_finds_its_tasks_again_and_misses_nothing() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("steady", STEADY, ""));
    let path = file.to_str().unwrap();
    machine.ok(&["run", "-detach", path]);
    let containers = machine.containers();
    let agent = || machine.state("steady")["host_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap();
    let driver = machine.state("steady")["driver_pid"].clone();

    for round in 1..=2 {
        wait_until("lines", || last_number(machine.logs("steady").as_bytes(), "a") > 200 * round);
        let killed = agent();
        machine.kill_agent("steady");
        assert_eq!(machine.ok(&["exec", "steady", "echo", "still here"]), "still here\n");
        machine.ok(&["run", "-detach", path]);
        assert_ne!(agent(), killed);
    }
    wait_until("lines after the last kill", || last_number(machine.logs("steady").as_bytes(), "a") > 700);
    assert_eq!((machine.containers(), &machine.state("steady")["driver_pid"]), (containers, &driver));
    machine.ok(&["stop", "steady"]);

    let log = machine.logs("steady");
    assert_eq!(judge(log.as_bytes(), "a", last_number(log.as_bytes(), "a")), Judgement::default());
    assert_eq!(machine.containers(), Vec::<String>::new());
}

#[test]
fn a_job_whose_agent_was_killed_can_be_stopped() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("orphan", "exec sleep 1000", "kill_timeout = \"1s\""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    machine.kill_agent("orphan");

    machine.ok(&["stop", "orphan"]);

    assert_eq!(machine.containers(), Vec::<String>::new());
    assert_eq!(Machine::task(&machine.state("orphan"), "t")["status"], "complete");
}

#[test]
fn a_failing_task_is_started_again_as_often_as_its_job_says() {
    let machine = Machine::new();
    let restart = "restart {\n attempts = 2\n delay = \"10ms\"\n interval = \"1h\"\n }";
    let file = machine.file("job.hcl", &job("failing", "echo try; exit 3", restart));

    let output = machine.run(&["run", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(1));
    assert_eq!(machine.logs("failing"), "try\ntry\ntry\n");
    let state = machine.state("failing");
    let task = Machine::task(&state, "t");
    assert_eq!(
        (task["status"].as_str(), task["restarts"].as_i64(), task["exit_code"].as_i64()),
        (Some("failed"), Some(2), Some(3))
    );
    assert!(text(&output.stderr).contains("Not Restarting: Exceeded allowed attempts"), "{}", text(&output.stderr));
    assert_eq!(machine.containers(), Vec::<String>::new());
}
