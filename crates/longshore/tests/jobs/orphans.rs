//! What an agent that was killed leaves half done, and who removes it: `stop`, or the next agent.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use conformance::{
    dockerd::Dockerd,
    faulty_registry::{Fault, FaultyRegistry},
    image,
    registry::{Access, Registry},
};
use serde_json::Value;

use crate::{
    Machine,
    bridge::{leases, rules},
    groups::Pause,
    job,
    life::Foreground,
    text, wait_until,
};

/// A task that ends is started again much later.
const PAUSING: &str = "restart {\n attempts = 5\n delay = \"1h\"\n interval = \"24h\"\n }";

/// A registry that stalls in the midst of a layer of an image, which has this name there.
pub(crate) fn stalling(registry: &mut Registry) -> (FaultyRegistry, String) {
    let wanted = registry.push_with_layer("stalled:1", 1 << 20);
    let front = FaultyRegistry::start(registry, |asked| if asked.layer { Fault::Stall } else { Fault::None });
    let name = front.name(&wanted);
    (front, name)
}

/// A group on a bridge, with a published port.
pub(crate) fn on_a_bridge(id: &str, more: &str, script: &str) -> String {
    let image = image();
    format!(
        "job \"{id}\" {{\n group \"g\" {{\n network {{\n mode = \"bridge\"\n port \"http\" {{\n to = 8080\n }}\n }}\n \
         {more}\n task \"t\" {{\n driver = \"docker\"\n kill_timeout = \"1ms\"\n config {{\n image = \"{image}\"\n \
         command = \"/bin/sh\"\n args = [\"-c\", \"{script}\"]\n }}\n }}\n }}\n}}\n"
    )
}

/// An agent's configuration with an image for pause containers.
pub(crate) fn with_pause_image(machine: &Machine, image: &str) -> String {
    agent_file(machine, &format!("infra_image = \"{image}\""))
}

/// An agent's configuration with an engine of the test's own. The pause image is nowhere, so that the built-in one is used.
pub(crate) fn with_engine(machine: &Machine, engine: &Dockerd) -> String {
    let address = engine.address();
    agent_file(machine, &format!("endpoint = \"{address}\"\n infra_image = \"localhost:1/longshore-test/pause:1\""))
}

pub(crate) fn agent_file(machine: &Machine, options: &str) -> String {
    let config = format!("plugin \"docker\" {{\n config {{\n {options}\n }}\n}}\n");
    machine.file("agent.hcl", &config).display().to_string()
}

impl Machine {
    fn driver_of(&self, job: &str) -> i64 {
        self.state(job)["driver_pid"].as_i64().unwrap()
    }

    /// Stops a job that has no agent any more, and sees that it is over and that nothing is left of its only instance.
    pub(crate) fn stop_orphan(&self, job: &str, args: &[&str]) {
        let driver = self.driver_of(job);
        self.ok(&[args, &["stop", job]].concat());

        let alloc = self.state(job)["allocs"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(self.state(job)["status"], "complete");
        assert_eq!((leases(&alloc), rules(&[&alloc]), self.containers()), (Vec::new(), Vec::new(), Vec::new()));
        assert!(!Path::new(&format!("/run/netns/longshore-{alloc}")).exists(), "its namespace is left");
        wait_until("the driver's end", || fs::read_link(format!("/proc/{driver}/exe")).is_err());
    }
}

#[test]
fn a_job_can_be_stopped_whose_agent_was_killed_while_its_network_was_made() {
    let (machine, mut registry) = (Machine::new(), Registry::start(Access::Anonymous));
    let (registry, pause) = stalling(&mut registry);
    let config = with_pause_image(&machine, &pause);
    let file = machine.file("job.hcl", &on_a_bridge("early", "", "exec sleep 1000")).display().to_string();
    let agent = Foreground::begin(&mut machine.command(&["-config", &config, "run", &file]));
    wait_until("the pull", || registry.holding() > 0);

    agent.kill();
    machine.stop_orphan("early", &["-config", &config]);
}

#[test]
fn a_job_can_be_stopped_whose_agent_was_killed_before_its_first_start() {
    let (machine, mut registry) = (Machine::new(), Registry::start(Access::Anonymous));
    let (registry, wanted) = stalling(&mut registry);
    let file = machine.file("job.hcl", &job("early", "exec sleep 1000", "").replace(&image(), &wanted));
    let agent = Foreground::begin(&mut machine.command(&["run", file.to_str().unwrap()]));
    wait_until("the pull", || registry.holding() > 0);

    agent.kill();
    machine.stop_orphan("early", &[]);
}

#[test]
fn a_job_can_be_stopped_whose_agent_was_killed_before_a_restart() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "restart");
    let file = machine.file("job.hcl", &on_a_bridge("pausing", PAUSING, "exit 1")).display().to_string();
    let agent = Foreground::begin(&mut machine.command(&["-config", &config, "run", &file]));
    wait_until("the pause", || text(&machine.run(&["events", "pausing"]).stdout).contains("Task restarting in 3600s"));

    agent.kill();
    machine.stop_orphan("pausing", &["-config", &config]);

    assert_eq!(pause.containers(), "");
}

/// A directory of CNI plugins with one of our own, which calls the real one for all but the ADD that it is about.
struct Plugins {
    directory: PathBuf,
}

impl Plugins {
    fn with(machine: &Machine, plugin: &str, on_add: &str) -> Self {
        let directory = machine.path().join("cni");
        let real = ["/opt/cni/bin", "/usr/lib/cni"].map(|real| Path::new(real).join(plugin));
        let real = real.iter().find(|path| path.is_file()).expect("the CNI plugins").display();
        let hold = directory.join("hold").display().to_string();
        let script = format!(
            "#!/bin/sh\nif [ \"$CNI_COMMAND\" = ADD ] && [ -e {hold} ]; then\n: >{hold}.reached\n{on_add}\nfi\nexec {real}\n"
        );
        fs::create_dir(&directory).unwrap();
        fs::write(&hold, "").unwrap();
        // Written by another process: a descriptor of ours that writes may be in a child that another test starts.
        let file = machine.file("plugin.sh", &script);
        let made = Command::new("install").args(["-m", "755"]).arg(file).arg(directory.join(plugin)).status().unwrap();
        assert!(made.success());
        Self { directory }
    }

    /// An agent that finds it before the real one.
    fn used_by(&self, mut run: Command) -> Foreground {
        Foreground::begin(run.env("CNI_PATH", &self.directory))
    }

    fn wait(&self) {
        wait_until("the plugin's call", || self.directory.join("hold.reached").exists());
    }

    /// How many of them run that mark it.
    fn running(&self) -> usize {
        let entries = fs::read_dir(&self.directory).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("running.")).count()
    }

    /// From now on the plugin is the real one.
    fn release(&self) {
        fs::remove_file(self.directory.join("hold")).unwrap();
    }
}

#[test]
fn a_network_that_a_killed_agent_has_half_connected_leaves_no_rule() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "half");
    // When the last plugin is called, the others have made interface, lease and rules.
    let plugins = Plugins::with(&machine, "portmap", "while [ -e /proc/$PPID ]; do sleep 0.05; done\nexit 1");
    let file = machine.file("job.hcl", &on_a_bridge("half", "", "exec sleep 1000")).display().to_string();
    let run = ["-config", &config, "run", &file];
    let lent = || {
        let alloc = machine.allocs()[0].clone();
        let lent = leases(&alloc);
        assert_eq!(lent.len(), 1);
        format!("{}/32", lent[0])
    };

    let agent = plugins.used_by(machine.command(&run));
    plugins.wait();
    agent.kill();
    let first = (lent(), rules(&[&lent()]));
    plugins.release();
    let agent = plugins.used_by(machine.command(&run));
    wait_until("the task", || machine.ok(&["status", "half"]).contains("is running"));
    let after_next_agent = (lent(), rules(&[&first.0]));
    agent.kill();
    machine.stop_orphan("half", &["-config", &config]);

    assert!(!first.1.is_empty(), "there was nothing to remove");
    assert_ne!(after_next_agent.0, first.0);
    assert_eq!(after_next_agent.1, Vec::<String>::new());
    assert_eq!((rules(&[&after_next_agent.0]), pause.containers()), (Vec::new(), String::new()));
}

#[test]
fn a_half_connected_network_leaves_no_rule_when_its_job_is_stopped() {
    let machine = Machine::new();
    let (_pause, config) = Pause::make(&machine, "undone");
    let plugins = Plugins::with(&machine, "portmap", "while [ -e /proc/$PPID ]; do sleep 0.05; done\nexit 1");
    let file = machine.file("job.hcl", &on_a_bridge("undone", "", "exec sleep 1000")).display().to_string();
    let agent = plugins.used_by(machine.command(&["-config", &config, "run", &file]));
    plugins.wait();
    agent.kill();
    let address = format!("{}/32", leases(&machine.allocs()[0])[0]);
    let before = rules(&[&address]);

    machine.stop_orphan("undone", &["-config", &config]);

    assert!(!before.is_empty(), "there was nothing to remove");
    assert_eq!(rules(&[&address]), Vec::<String>::new());
}

#[test]
fn a_network_that_cannot_be_removed_is_reported_until_it_can() {
    let mut engine = Dockerd::start();
    let machine = Machine::new();
    let config = with_engine(&machine, &engine);
    let file = machine.file("job.hcl", &on_a_bridge("away", PAUSING, "exit 1")).display().to_string();
    let agent = Foreground::begin(&mut machine.command(&["-config", &config, "run", &file]));
    wait_until("the pause", || text(&machine.run(&["events", "away"]).stdout).contains("Task restarting in 3600s"));
    let namespace = format!("/run/netns/longshore-{}", machine.allocs()[0]);

    engine.kill();
    agent.signal("INT");
    let (code, said) = agent.end();
    let left = Path::new(&namespace).exists();
    engine.begin();
    machine.ok(&["-config", &config, "stop", "away"]);

    assert_eq!((code, left), (Some(3), true), "{said}");
    assert!(said.contains("Error: failed to remove the network of allocation "), "{said}");
    assert!(said.ends_with("\nhint: longshore stop away\n"), "{said}");
    assert!(!Path::new(&namespace).exists(), "the namespace is left");
    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn an_interrupt_cancels_a_network_whose_pause_image_does_not_come() {
    let (machine, mut registry) = (Machine::new(), Registry::start(Access::Anonymous));
    let (registry, pause) = stalling(&mut registry);
    let config = with_pause_image(&machine, &pause);
    let file = machine.file("job.hcl", &on_a_bridge("waiting", "", "exec sleep 1000")).display().to_string();
    let agent = Foreground::begin(&mut machine.command(&["-config", &config, "run", &file]));
    wait_until("the pull", || registry.holding() > 0);

    agent.signal("INT");
    let (code, said) = agent.end();

    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("t: Killed: stopped before the group's network was created"), "{said}");
    assert_eq!((machine.state("waiting")["status"].as_str(), machine.containers()), (Some("complete"), Vec::new()));
}

#[test]
fn an_interrupt_kills_a_cni_plugin_that_hangs_and_undoes_what_the_others_did() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "hangs");
    let plugins = Plugins::with(&machine, "portmap", "exec sleep 1000");
    let file = machine.file("job.hcl", &on_a_bridge("hanging", "", "exec sleep 1000")).display().to_string();
    let agent = plugins.used_by(machine.command(&["-config", &config, "run", &file]));
    plugins.wait();
    let alloc = machine.allocs()[0].clone();
    let address = format!("{}/32", leases(&alloc)[0]);
    let before = rules(&[&address]);

    agent.signal("INT");
    let (code, said) = agent.end();

    assert_eq!(code, Some(0), "{said}");
    assert!(!before.is_empty(), "there was nothing to undo");
    assert_eq!(
        (leases(&alloc), rules(&[&alloc, &address]), pause.containers()),
        (Vec::new(), Vec::new(), String::new())
    );
}

#[test]
fn a_cni_plugin_that_fails_is_an_error_in_its_own_words() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "failing");
    let plugins = Plugins::with(&machine, "portmap", r#"echo '{"code": 11, "msg": "no room"}'; exit 1"#);
    let file = machine.file("job.hcl", &on_a_bridge("failing", "", "exec sleep 1000")).display().to_string();

    let (code, said) = plugins.used_by(machine.command(&["-config", &config, "run", &file])).end();

    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("Setup Failure: failed to create the group's network: CNI plugin portmap: no room\n"),
        "{said}"
    );
    assert_eq!((machine.state("failing")["status"].as_str(), pause.containers()), (Some("failed"), String::new()));
}

#[test]
fn the_plugins_of_many_groups_wait_for_a_processor_instead_of_using_up_each_others_time() {
    let machine = Machine::new();
    let (_pause, config) = Pause::make(&machine, "turns");
    let mark = "at=${0%/*}\n: >$at/running.$$\nwhile [ -e $at/hold ]; do sleep 0.05; done\nrm $at/running.$$";
    let plugins = Plugins::with(&machine, "loopback", mark);
    let processors = std::thread::available_parallelism().unwrap().get();
    let job = on_a_bridge("turns", &format!("count = {}", processors + 3), "exec sleep 1000");
    let file = machine.file("job.hcl", &job).display().to_string();
    let agent = plugins.used_by(machine.command(&["-config", &config, "run", &file]));
    plugins.wait();
    let made = |alloc: &Value| alloc["network"]["path"].as_str().is_some_and(|path| !path.is_empty());
    wait_until("the pause containers", || machine.noted("turns")["allocs"].as_array().unwrap().iter().all(made));
    wait_until("their plugins", || plugins.running() >= processors);
    let at_once = plugins.running();
    plugins.release();
    let runs = |alloc: &Value| alloc["tasks"]["t"]["status"] == "running";
    wait_until("the tasks", || machine.state("turns")["allocs"].as_array().unwrap().iter().all(runs));

    agent.signal("INT");
    let (code, said) = agent.end();

    assert_eq!((at_once, code), (processors, Some(0)), "{said}");
}
