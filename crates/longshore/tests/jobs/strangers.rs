//! What a Nomad agent on the same machine has in the same engine.

use std::time::Duration;

use conformance::{DEADLINE, dockerd::Dockerd, image};

use crate::{Machine, job, orphans::agent_file, wait_within};

/// The shortest grace that the driver takes.
const GRACE: Duration = Duration::from_secs(60);

const ALLOC: &str = "--label=com.hashicorp.nomad.alloc_id=6cf1";

#[test]
fn only_what_names_the_jobs_own_node_is_ever_removed_whatever_the_agents_file_says() {
    let engine = Dockerd::start();
    let machine = Machine::new();
    let address = engine.address();
    let dangling = "period = \"1s\"\n creation_grace = \"1m\"\n unlabelled = true";
    let options = format!("endpoint = \"{address}\"\n gc {{\n dangling_containers {{\n {dangling}\n }}\n }}");
    let config = agent_file(&machine, &options);
    let file = machine.file("job.hcl", &job("web", "exec sleep 1000", "")).display().to_string();
    machine.ok(&["-config", &config, "run", "-detach", &file]);
    let make = |how: &[&str], name: &str, labels: &[&str]| {
        let image = image();
        let common = [&["--name", name, "--network", "none"], labels, &[&image, "sleep", "1000"]].concat();
        engine.run(&[how, &common].concat());
    };
    let (run, create) = (&["run", "--detach"][..], &["create"][..]);
    let node = |of: String| format!("--label=com.hashicorp.nomad.node_id={of}");
    let jobs = |data: &str| machine.path().join(data).join("jobs/web").display().to_string();

    // The built-in driver names no node.
    make(run, "agents-6cf1", &[ALLOC]);
    make(create, "agents-created-6cf1", &[ALLOC]);
    make(create, "nomad_init_6cf12", &[&format!("{ALLOC}2")]);
    make(run, "another-agents-6cf1", &[ALLOC, &node("c0ffee00-0000-4000-8000-000000000001".to_owned())]);
    make(run, "another-data-directorys-6cf1", &[ALLOC, &node(jobs("other"))]);
    let agents = || engine.run(&["ps", "--all", "--quiet", "--filter", "name=6cf1"]).lines().count();
    let all = agents();
    make(run, "lost-6cf", &[ALLOC.trim_end_matches('1'), &node(jobs("data"))]);
    let is_removed = || engine.run(&["ps", "--all", "--quiet", "--filter", "name=lost"]).is_empty();
    wait_within(GRACE + *DEADLINE, "what the job has lost is gone", is_removed);

    assert_eq!((all, agents()), (5, 5));
    assert!(machine.ok(&["status", "web"]).contains("is running"));
    machine.ok(&["-config", &config, "stop", "web"]);
}
