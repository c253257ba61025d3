//! What the agent of `longshore` asks of a driver is what a Nomad agent asks.

use base64::{Engine, engine::general_purpose::STANDARD};
use conformance::fields;

use crate::{Machine, job};

#[test]
fn a_task_is_started_with_what_an_agent_sets() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("web", "sleep 1000", "resources { memory_max = 400 }"));

    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let handle = machine.noted("web")["allocs"][0]["tasks"]["t"]["handle"].as_str().unwrap().to_owned();
    let unlike = fields::unlike("RecoverTask", &fields::recovery_of(&STANDARD.decode(handle).unwrap()));

    // The agent has no control groups of its own.
    assert_eq!(
        unlike,
        [
            "RecoverTask does not set handle.config.env{NOMAD_PARENT_CGROUP}, which every agent does",
            "RecoverTask does not set handle.config.resources.linux_resources.cpuset_cgroup, which every agent does",
        ]
    );
    machine.ok(&["stop", "web"]);
}
