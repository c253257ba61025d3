//! Groups of several tasks: in what order they run, and the network that they share.

use conformance::{docker::docker, image};

use crate::{Machine, orphans::with_pause_image, text, wait_until};

/// A task that runs a script, with other blocks.
fn task(name: &str, script: &str, more: &str) -> String {
    format!(
        "task \"{name}\" {{\n driver = \"docker\"\n kill_timeout = \"5s\"\n {more}\n config {{\n image = \"{}\"\n \
         command = \"/bin/sh\"\n args = [\"-c\", <<EOF\n{script}\nEOF\n ]\n }}\n }}\n",
        image()
    )
}

fn lifecycle(hook: &str, sidecar: bool) -> String {
    format!("lifecycle {{\n hook = \"{hook}\"\n sidecar = {sidecar}\n }}")
}

fn job(id: &str, group: &str) -> String {
    let restart = "restart {\n attempts = 0\n }";
    format!("job \"{id}\" {{\n type = \"batch\"\n group \"g\" {{\n {restart}\n {group}\n }}\n }}\n")
}

fn order(machine: &Machine) -> Vec<String> {
    let alloc = machine.path().join("data/alloc").join(&machine.allocs()[0]);
    let lines = std::fs::read_to_string(alloc.join("alloc/data/order")).unwrap_or_default();
    lines.lines().map(str::to_owned).collect()
}

fn says(what: &str) -> String {
    format!("echo {what} >>/alloc/data/order")
}

fn until(what: &str) -> String {
    format!("until grep -q {what} /alloc/data/order; do sleep 0.02; done")
}

#[test]
fn tasks_run_in_the_order_of_their_lifecycles() {
    let machine = Machine::new();
    let side = format!("trap '{}; exit 0' TERM; {}; while :; do sleep 0.02; done", says("side-end"), says("side"));
    let tasks = [
        task("last", &says("last"), &lifecycle("poststop", false)),
        task("after", &says("after"), &lifecycle("poststart", false)),
        task("main", &format!("{}; {}; {}", says("main"), until("after"), says("main-end")), ""),
        task("side", &side, &lifecycle("prestart", true)),
        task("first", &format!("{}; {}", until("side"), says("first")), &lifecycle("prestart", false)),
    ];
    let file = machine.file("job.hcl", &job("ordered", &tasks.concat()));

    let output = machine.run(&["run", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(order(&machine), ["side", "first", "main", "after", "main-end", "side-end", "last"]);
    assert_eq!(machine.containers(), Vec::<String>::new());
}

#[test]
fn tasks_end_in_their_turns_and_each_has_those_after_it_until_then() {
    let machine = Machine::new();
    // On its way out a task asks one of a later turn, and ends once that has answered.
    let ends = |name: &str, asks: &str| {
        let asks =
            if asks.is_empty() { String::new() } else { format!("{}; {};", says(asks), until(&format!("to-{asks}"))) };
        format!("end() {{ {asks} {}; exit 0; }}; trap end TERM", says(&format!("{name}-end")))
    };
    let answers = |question: &str| {
        format!(
            "while :; do grep -qx {question} /alloc/data/order && ! grep -q to-{question} /alloc/data/order && {}; sleep 0.02; done",
            says(&format!("to-{question}"))
        )
    };
    let until_stopped = "while :; do sleep 0.02; done";
    let tasks = [
        task("after", &format!("{}; {}", ends("after", ""), answers("asks-after")), &lifecycle("poststart", true)),
        task("lead", &format!("{}; {until_stopped}", ends("lead", "asks-main")), "leader = true"),
        task("main", &format!("{}; {}", ends("main", "asks-after"), answers("asks-main")), ""),
        task("side", &format!("{}; {until_stopped}", ends("side", "")), &lifecycle("prestart", true)),
        task("last", &says("last"), &lifecycle("poststop", false)),
    ];
    let file = machine.file("job.hcl", &job("turns", &tasks.concat()));
    let turns =
        ["asks-main", "to-asks-main", "lead-end", "asks-after", "to-asks-after", "main-end", "after-end", "side-end"];
    // What runs after the others, the job's agent alone can start.
    for (with_agent, last) in [(true, ["last"].as_slice()), (false, &[])] {
        machine.ok(&["run", "-detach", file.to_str().unwrap()]);
        if !with_agent {
            machine.kill_agent("turns");
        }

        machine.ok(&["stop", "turns"]);

        let mut order = order(&machine);
        // Sidecars end together.
        order[6..8].sort();
        assert_eq!(order, [&turns, last].concat(), "with an agent: {with_agent}");
        let state = machine.state("turns");
        let codes = ["lead", "main", "side", "after"].map(|name| Machine::task(&state, name)["exit_code"].as_i64());
        assert_eq!((codes, state["status"].as_str()), ([Some(0); 4], Some("complete")));
    }
}

#[test]
fn a_leader_that_ends_ends_the_others_and_sidecars_last() {
    let machine = Machine::new();
    let ends = |name: &str| {
        format!("trap '{}; exit 0' TERM; {}; while :; do sleep 0.02; done", says(&format!("{name}-end")), says(name))
    };
    let tasks = [
        task("side", &ends("side"), &lifecycle("prestart", true)),
        task("helper", &ends("helper"), ""),
        task("lead", &format!("{}; {}", until("helper"), says("lead")), "leader = true"),
    ];
    let file = machine.file("job.hcl", &job("led", &tasks.concat()));

    let output = machine.run(&["run", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(order(&machine), ["side", "helper", "lead", "helper-end", "side-end"]);
}

#[test]
fn what_runs_once_beside_the_main_tasks_may_end_after_them_and_sidecars_wait_for_it() {
    let machine = Machine::new();
    let traps = |name: &str| format!("trap '{}; exit 1' TERM", says(name));
    let tasks = [
        task("main", &until("after"), ""),
        task(
            "after",
            &format!("{}; {}; {}; {}", traps("killed"), says("after"), until("go"), says("after-end")),
            &lifecycle("poststart", false),
        ),
        task(
            "side",
            &format!("trap '{}; exit 0' TERM; while :; do sleep 0.02; done", says("side-end")),
            &lifecycle("prestart", true),
        ),
    ];
    let file = machine.file("job.hcl", &job("beside", &tasks.concat()));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let status = |task: &str| machine.state("beside")["allocs"][0]["tasks"][task]["status"].clone();
    wait_until("the main task's end", || status("main") == "complete");
    let beside = ["after", "side"].map(status);

    let path = machine.path().join("data/alloc").join(&machine.allocs()[0]).join("alloc/data/order");
    std::io::Write::write_all(&mut std::fs::File::options().append(true).open(path).unwrap(), b"go\n").unwrap();
    wait_until("the end", || machine.state("beside")["status"] == "complete");

    assert_eq!(beside, ["running", "running"]);
    assert_eq!(order(&machine), ["after", "go", "after-end", "side-end"]);
}

#[test]
fn a_main_task_does_not_run_after_a_prestart_that_failed() {
    let machine = Machine::new();
    let tasks = [
        task("first", "exit 3", &lifecycle("prestart", false)),
        task("main", &says("main"), ""),
        task("last", &says("last"), &lifecycle("poststop", false)),
    ];
    let file = machine.file("job.hcl", &job("doomed", &tasks.concat()));

    let output = machine.run(&["run", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(order(&machine), ["last"]);
}

#[test]
fn what_has_ended_is_not_run_again_by_the_next_agent() {
    let machine = Machine::new();
    let tasks = [
        task("first", &says("first"), &lifecycle("prestart", false)),
        task("main", &format!("{}; {}", says("main"), until("go")), ""),
        task("short", &says("short"), ""),
    ];
    let file = machine.file("job.hcl", &job("kept", &tasks.concat()));
    let path = file.to_str().unwrap();
    machine.ok(&["run", "-detach", path]);
    wait_until("the short task's end", || machine.state("kept")["allocs"][0]["tasks"]["short"]["status"] == "complete");
    machine.kill_agent("kept");

    let alloc = machine.path().join("data/alloc").join(&machine.allocs()[0]);
    let changed = machine.file("changed.hcl", &job("kept", &tasks[1]));
    let refused = machine.run(&["run", changed.to_str().unwrap()]);
    machine.ok(&["run", "-detach", path]);
    let mut lines = order(&machine);
    lines.push("go".to_owned());
    std::fs::write(alloc.join("alloc/data/order"), lines.join("\n") + "\n").unwrap();
    wait_until("the end", || machine.state("kept")["status"] == "complete");

    assert!(text(&refused.stderr).contains("no longer has task \"first\" of group \"g\""), "{}", text(&refused.stderr));
    lines.sort();
    assert_eq!(lines, ["first", "go", "main", "short"]);
}

/// An image that waits, and a driver's configuration that has it as the pause container's; removed on drop.
pub(crate) struct Pause(String);

impl Pause {
    pub(crate) fn make(machine: &Machine, name: &str) -> (Self, String) {
        let name = format!("longshore-test/pause-{name}:{}", std::process::id());
        let container = docker(&["create", &image()]);
        docker(&["commit", "--change", r#"CMD ["sleep", "1000000"]"#, container.trim(), &name]);
        docker(&["rm", container.trim()]);
        let config = with_pause_image(machine, &name);
        (Self(name), config)
    }

    /// The containers of the image, in any state.
    pub(crate) fn containers(&self) -> String {
        docker(&["ps", "--all", "--quiet", "--filter", &format!("ancestor={}", self.0)])
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        for container in self.containers().lines() {
            docker(&["rm", "--force", container]);
        }
        docker(&["rmi", &self.0]);
    }
}

#[test]
fn tasks_of_a_bridge_share_localhost_and_their_port_is_published() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "bridge");
    let network = "network {\n mode = \"bridge\"\n hostname = \"web\"\n port \"http\" {\n to = 8080\n }\n }\n";
    let asks = "until wget -q -O - http://127.0.0.1:8080/page; do sleep 0.05; done; cat /etc/hosts; trap exit TERM; sleep 1000 & wait";
    let tasks = [
        task("server", "mkdir /www; echo shared >/www/page; exec httpd -f -p $NOMAD_PORT_http -h /www", ""),
        task("client", asks, ""),
    ];
    let file = machine.file("job.hcl", &job("bridged", &format!("{network}{}", tasks.concat())));
    let run = ["-config", &config, "run", "-detach", file.to_str().unwrap()];

    machine.ok(&run);
    wait_until("the other task's answer", || machine.ok(&["logs", "-task", "client", "bridged"]).contains("shared"));
    let port = machine.state("bridged")["allocs"][0]["ports"][0]["value"].as_i64().unwrap();
    let before = crate::life::answer(port, "/page");
    machine.kill_agent("bridged");
    machine.ok(&run);
    let after = crate::life::answer(port, "/page");
    let hosts = machine.ok(&["logs", "-task", "client", "bridged"]);
    assert_eq!(pause.containers().lines().count(), 1);
    machine.ok(&["-config", &config, "stop", "bridged"]);

    assert!(before.ends_with("shared\n") && after.ends_with("shared\n"), "{before} {after}");
    assert!(hosts.lines().any(|line| line.starts_with("172.26.") && line.contains("web")), "{hosts}");
    assert_eq!((pause.containers(), machine.containers()), (String::new(), Vec::new()));
}

#[test]
fn tasks_without_a_network_have_each_other() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "none");
    let tasks = [
        task(
            "server",
            "mkdir /www; echo shared >/www/page; httpd -p 8080 -h /www; while :; do sleep 0.1; done",
            &lifecycle("prestart", true),
        ),
        task("client", "until wget -q -O - http://127.0.0.1:8080/page; do sleep 0.05; done; ls /sys/class/net", ""),
    ];
    let file =
        machine.file("job.hcl", &job("alone", &format!("network {{\n mode = \"none\"\n }}\n{}", tasks.concat())));

    machine.ok(&["-config", &config, "run", file.to_str().unwrap()]);

    assert_eq!(machine.ok(&["logs", "-task", "client", "alone"]), "shared\nlo\n");
    assert_eq!(pause.containers(), "");
}

#[test]
fn a_task_has_the_cores_that_it_asks_for() {
    let machine = Machine::new();
    let asks = |count: u32| format!("resources {{\n cores = {count}\n memory = 32\n }}");
    let script = "echo $NOMAD_CPU_CORES; trap exit TERM; sleep 1000 & wait";
    let file = machine.file("job.hcl", &job("cores", &task("t", script, &asks(1))));
    let many = machine.file("many.hcl", &job("many", &task("t", script, &asks(1000))));

    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    wait_until("its cores", || !machine.logs("cores").is_empty());
    let refused = machine.run(&["run", many.to_str().unwrap()]);

    let container = conformance::docker::inspect(&machine.containers()[0]);
    let core = machine.logs("cores").trim().to_owned();
    assert!(core.parse::<u32>().is_ok(), "{core}");
    assert_eq!(container["HostConfig"]["CpusetCpus"], core);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("task \"t\" needs 1000 cores; "), "{}", text(&refused.stderr));
}
