//! What a killed agent left and nobody owns: listed with the reason, and removed, and nothing else.

use std::{collections::BTreeSet, fs, path::Path};

use conformance::{
    docker::{docker, is_local},
    image,
    registry::{Access, Registry},
};
use serde_json::Value;

use crate::{Machine, groups::Pause, job, text, wait_until};

/// A job whose group has a network of its own, and whose task has an anonymous volume.
fn with_network(id: &str, image: &str) -> String {
    format!(
        "job \"{id}\" {{\n group \"g\" {{\n network {{\n mode = \"none\"\n }}\n task \"t\" {{\n driver = \"docker\"\n \
         kill_timeout = \"1ms\"\n config {{\n image = \"{image}\"\n command = \"/bin/sleep\"\n args = [\"1000\"]\n \
         mount {{\n type = \"volume\"\n target = \"/data\"\n }}\n }}\n }}\n }}\n}}\n"
    )
}

/// A container of an allocation, with all labels that the driver sets.
fn strange(name: &str, alloc: &str, node: &str) -> String {
    let labels = [("alloc_id", alloc), ("node_id", node), ("task_name", "t")]
        .map(|(name, value)| format!("--label=com.hashicorp.nomad.{name}={value}"));
    let image = image();
    let [alloc, node, task] = &labels;
    let args = ["run", "--detach", "--network=none", "--name", name, alloc, node, task, &image, "sleep", "1000"];
    docker(&args).trim().to_owned()
}

/// Removes a container of the test's own at its end.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        docker(&["rm", "--force", &self.0]);
    }
}

impl Machine {
    /// What `gc` lists, each as its kind, its id and the reason.
    fn garbage(&self, args: &[&str]) -> BTreeSet<(String, String, String)> {
        let listed: Vec<Value> = serde_json::from_str(&self.ok(&[args, &["gc", "-json"]].concat())).unwrap();
        let field = |left: &Value, name: &str| left[name].as_str().unwrap().to_owned();
        listed.iter().map(|left| (field(left, "kind"), field(left, "id"), field(left, "reason"))).collect()
    }

    fn home(&self, job: &str) -> String {
        self.path().join("data/jobs").join(job).display().to_string()
    }
}

fn containers_of(alloc: &str) -> BTreeSet<String> {
    let label = format!("label=com.hashicorp.nomad.alloc_id={alloc}");
    let found = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
    found.lines().map(str::to_owned).collect()
}

fn volume_of(containers: &BTreeSet<String>) -> String {
    let names = containers.iter().map(|id| {
        docker(&["inspect", "--format", "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}}{{end}}{{end}}", id])
    });
    names.map(|name| name.trim().to_owned()).find(|name| !name.is_empty()).unwrap()
}

#[test]
fn what_a_killed_job_left_is_listed_with_the_reason_and_removed_and_nothing_else() {
    let (machine, mut registry) = (Machine::new(), Registry::start(Access::Anonymous));
    let (_pause, config) = Pause::make(&machine, "gc");
    let options = fs::read_to_string(&config).unwrap();
    let with_volumes = options.replacen("config {", "config {\n volumes {\n enabled = true\n }\n", 1);
    fs::write(&config, with_volumes).unwrap();
    let config = ["-config", config.as_str()];
    let wanted = registry.push_new("gc:1");
    let run = |job: &str, text: &str| {
        let file = machine.file(&format!("{job}.hcl"), text).display().to_string();
        machine.ok(&[&config[..], &["run", "-detach", &file]].concat());
        machine.state(job)["allocs"][0]["id"].as_str().unwrap().to_owned()
    };
    let alive = run("alive", &job("alive", "exec sleep 1000", ""));
    let killed = run("killed", &with_network("killed", &wanted));
    let removed = run("removed", &with_network("removed", &image()));
    for job in ["killed", "removed"] {
        machine.kill_agent_and_driver(job);
    }
    let other = Removed(strange("t-1d5a6c02", "1d5a6c02", "c0ffee00-0000-4000-8000-000000000001"));
    let elsewhere = Removed(strange("t-2d5a6c02", "2d5a6c02", &machine.home("killed").replace("/data/", "/other/")));

    let said = machine.run(&[&config[..], &["gc", "-dry-run"]].concat());
    assert_eq!(text(&said.stdout), "No garbage\n", "the next agent of each job adopts what is left");
    assert!(text(&said.stderr).contains("job \"killed\" has no running agent; its 1 running task(s) are left alone"));
    // From now on no agent can adopt them.
    fs::remove_file(Path::new(&machine.home("killed")).join("state.json")).unwrap();
    fs::remove_dir_all(machine.home("removed")).unwrap_or_default();
    let lost = [containers_of(&killed), containers_of(&removed)];
    let volumes = lost.each_ref().map(volume_of);
    let listed = machine.garbage(&config);

    let mut expected = BTreeSet::new();
    let mut expect = |kind: &str, id: &str, reason: &str| expected.insert((kind.into(), id.into(), reason.into()));
    for ((containers, volume), alloc) in lost.iter().zip(&volumes).zip([&killed, &removed]) {
        for container in containers {
            expect("container", container, "no job has its allocation");
        }
        expect("volume", volume, "only such a container uses it");
        expect("network", alloc, "no job has its allocation");
    }
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", &wanted]);
    expect("image", id.trim(), "a driver pulled it, and nothing uses it");
    let files: Vec<_> = listed.iter().filter(|(kind, ..)| kind == "file").cloned().collect();
    assert!(files.iter().all(|(_, path, _)| path.starts_with(&machine.home("killed"))), "{files:?}");
    expected.extend(files);
    assert_eq!(listed, expected);
    assert_eq!(lost.each_ref().map(BTreeSet::len), [2, 2], "it was only listed");

    let now: Vec<Value> = serde_json::from_str(&machine.ok(&[&config[..], &["gc", "-now", "-json"]].concat())).unwrap();
    assert!(now.iter().all(|left| left["removed"] == true), "{now:?}");
    assert_eq!(now.len(), listed.len());
    assert_eq!((containers_of(&killed), containers_of(&removed)), (BTreeSet::new(), BTreeSet::new()));
    for alloc in [&killed, &removed] {
        assert!(!Path::new(&format!("/run/netns/longshore-{alloc}")).exists(), "{alloc}");
    }
    let left = docker(&["volume", "ls", "--quiet"]);
    assert!(!is_local(&wanted) && volumes.iter().all(|volume| !left.contains(volume)));
    assert_eq!(machine.ok(&[&config[..], &["gc"]].concat()), "No garbage\n");
    assert!(machine.ok(&["status", "alive"]).contains("is running"));
    assert_eq!([containers_of(&alive).len(), containers_of("1d5a6c02").len(), containers_of("2d5a6c02").len()], [1; 3]);
    drop((other, elsewhere));
}

#[test]
fn an_image_of_a_job_that_has_ended_is_removed_unless_it_is_pinned_or_used() {
    let (machine, mut registry) = (Machine::new(), Registry::start(Access::Anonymous));
    let [left, pinned, used] = ["left:1", "pinned:1", "used:1"].map(|name| registry.push_new(name));
    for (name, image) in [("left", &left), ("pinned", &pinned), ("used", &used)] {
        let text = job(name, "exit 0", "").replace("group \"g\"", "type = \"batch\"\n group \"g\"");
        let file = machine.file(&format!("{name}.hcl"), &text.replace(&conformance::image(), image));
        machine.ok(&["run", file.to_str().unwrap()]);
    }
    machine.ok(&["prefetch", &pinned]);
    let container = Removed(docker(&["create", &used, "sh"]).trim().to_owned());

    let listed = machine.ok(&["gc", "-dry-run"]);
    let removed = machine.ok(&["gc", "-now"]);

    for said in [&listed, &removed] {
        assert!(said.contains(&left) && !said.contains(&pinned) && !said.contains(&used), "{said}");
    }
    assert!(removed.contains("removed: a driver pulled it, and nothing uses it"), "{removed}");
    assert_eq!([&left, &pinned, &used].map(|image| is_local(image)), [false, true, true]);
    drop(container);
    machine.ok(&["prefetch", "-forget", &pinned]);
    machine.ok(&["gc", "-now"]);
    assert_eq!([&left, &pinned, &used].map(|image| is_local(image)), [false; 3]);
}

#[test]
fn tasks_of_a_job_with_an_agent_are_left_alone_while_they_start_run_and_restart() {
    let machine = Machine::new();
    let restarts = "restart {\n attempts = 1000\n delay = \"20ms\"\n interval = \"24h\"\n }";
    let file = machine.file("job.hcl", &job("busy", "exit 1", restarts));
    // Its exit code says that the task has failed, which it does again and again.
    machine.run(&["run", "-detach", file.to_str().unwrap()]);
    let restarted = || Machine::task(&machine.state("busy"), "t")["restarts"].as_u64().unwrap();
    let begin = restarted();

    wait_until("ten restarts", || {
        assert_eq!(machine.ok(&["gc", "-now"]), "No garbage\n");
        restarted() >= begin + 10
    });

    let events = machine.ok(&["events", "busy"]);
    assert!(!events.contains("Driver Failure"), "{events}");
    machine.ok(&["stop", "busy"]);
}
