//! Images: who uses them, when they go, and how they come before a task needs them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use conformance::{
    docker::{has_containerd_store, is_local},
    image, kill,
    registry::{Access, PASSWORD, Registry, USERNAME},
};
use serde_json::Value;

use crate::{Machine, text, wait_until};

/// A job whose first tasks each end when `/alloc/NAME` is there, and whose last one runs on.
fn waiting(id: &str, tasks: &[(&str, &str)]) -> String {
    let task = |name: &str, image: &str, script: &str| {
        format!(
            "task \"{name}\" {{\n driver = \"docker\"\n kill_timeout = \"1ms\"\n config {{\n image = \"{image}\"\n network_mode = \
             \"none\"\n command = \"/bin/sh\"\n args = [\"-c\", \"{script}\"]\n }}\n }}\n"
        )
    };
    let waiting =
        |(name, image): &(&str, &str)| task(name, image, &format!("until [ -e /alloc/{name} ]; do sleep 0.1; done"));
    let tasks: String = tasks.iter().map(waiting).collect();
    let last = task("last", &image(), "exec sleep 1000");
    format!("job \"{id}\" {{\n type = \"batch\"\n group \"g\" {{\n {tasks}{last} }}\n}}\n")
}

impl Machine {
    /// Runs a job in the background whose driver removes images after a time.
    fn run_with_delay(&self, delay: &str, job: &str) {
        let config = format!("plugin \"docker\" {{\n config {{\n gc {{\n image_delay = \"{delay}\"\n }}\n }}\n}}\n");
        let (config, file) = (self.file("agent.hcl", &config), self.file("job.hcl", job));
        self.ok(&["-config", config.to_str().unwrap(), "run", "-detach", file.to_str().unwrap()]);
    }

    /// Lets a task of a waiting job end, and waits until it has.
    fn let_end(&self, job: &str, task: &str) {
        self.ok(&["exec", "-task", "last", job, "touch", &format!("/alloc/{task}")]);
        wait_until("the task's end", || Self::task(&self.state(job), task)["status"] == "complete");
    }

    /// An image as programs see it.
    fn image(&self, name: &str) -> Option<Value> {
        let all: Vec<Value> = serde_json::from_str(&self.ok(&["images", "-json"])).unwrap();
        all.into_iter().find(|image| image["names"].as_array().unwrap().iter().any(|known| known == name))
    }

    /// An image as people see it.
    fn line(&self, name: &str) -> String {
        let table = self.ok(&["images"]);
        table.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned()
    }
}

#[test]
fn images_are_shown_with_who_uses_them_and_when_they_are_removed() {
    let (machine, mut registry) = (Machine::new(), Registry::start(Access::Anonymous));
    let (first, second) = (registry.push_new("first:1"), registry.push_new("second:1"));
    machine.run_with_delay("1h", &waiting("web", &[("a", &first), ("b", &second)]));
    let idle_since = tokio::time::Instant::now();
    machine.let_end("web", "b");
    let alloc = machine.state("web")["allocs"][0]["id"].clone();

    let used = machine.image(&first).unwrap();
    assert_eq!(used["used_by"], serde_json::json!([{ "job": "web", "alloc": alloc, "task": "a" }]));
    assert_eq!((&used["used"], used["goes_after_seconds"].as_f64()), (&true.into(), Some(3600.0)));
    assert_eq!(
        used["size"].as_u64(),
        conformance::docker::docker(&["image", "inspect", "--format", "{{.Size}}", &first]).trim().parse().ok()
    );
    let line = machine.line(&first);
    assert!(line.contains(&format!("web/a {}", &alloc.as_str().unwrap()[..8])) && line.ends_with("in use"), "{line}");
    let idle = machine.image(&second).unwrap();
    assert_eq!((&idle["used"], &idle["used_by"], &idle["kept"]), (&false.into(), &serde_json::json!([]), &Value::Null));
    assert!((3000.0..=3600.0).contains(&idle["goes_in_seconds"].as_f64().unwrap()), "{idle}");
    let line = machine.line(&second);
    let is_slow = idle_since.elapsed().as_secs() >= 60;
    assert!(line.contains("in 59m") || line.contains("in 1h0m") || (is_slow && line.contains("in 5")), "{line}");
    assert_eq!(machine.image(&image()).unwrap()["kept"], "found");

    machine.kill_agent("web");
    assert_eq!(machine.image(&first).unwrap()["used"], true, "its driver still runs");
    machine.ok(&["stop", "web"]);
    let left = machine.image(&first).unwrap();
    assert_eq!((&left["kept"], &left["jobs_that_do_not_run"]), (&"unattended".into(), &serde_json::json!(["web"])));
    assert!(machine.line(&first).ends_with("kept: web is not running"));
    assert_eq!(machine.image(&image()), None, "nobody uses it, and no driver pulled it");
}

#[test]
fn a_prefetched_image_is_kept_by_the_driver_that_pulled_it_and_by_the_next() {
    let (machine, mut registry) = (Machine::new(), Registry::start(Access::Anonymous));
    let (wanted, other) = (registry.push_new("wanted:1"), registry.push_new("other:1"));
    machine.run_with_delay("1s", &waiting("web", &[("a", &wanted), ("b", &other)]));

    assert_eq!(machine.ok(&["prefetch", &wanted]), format!("{wanted}: already present\n"));
    machine.let_end("web", "a");
    machine.let_end("web", "b");
    wait_until("the other image is gone", || !is_local(&other));
    assert!(is_local(&wanted));
    assert_eq!(machine.image(&wanted).unwrap()["kept"], "prefetched");
    assert!(machine.line(&wanted).ends_with("kept: prefetched"));

    let driver = || machine.state("web")["driver_pid"].as_i64().unwrap();
    let killed = driver();
    kill([killed.try_into().unwrap()]);
    wait_until("another driver", || driver() != killed);
    assert!(is_local(&wanted));
    assert_eq!(machine.ok(&["prefetch", "-forget", &wanted]), format!("{wanted}: unpinned\n"));
    wait_until("the forgotten image is gone", || !is_local(&wanted));
    assert_eq!(machine.run(&["prefetch", "-forget", &wanted]).status.code(), Some(2));
}

#[test]
fn a_job_files_images_are_fetched_with_their_credentials_and_those_unavailable_are_reported() {
    let (mut registry, machine) = (Registry::start(Access::Password), Machine::new());
    let wanted = registry.push_with_layer("wanted:1", 1 << 20);
    let missing = wanted.replace("wanted", "missing");
    let auth = format!("auth {{\n username = \"{USERNAME}\"\n password = \"{PASSWORD}\"\n }}\n");
    let task = |name: &str, config: &str| {
        format!(
            "task \"{name}\" {{\n driver = \"docker\"\n meta {{\n version = \"1\"\n }}\n config {{\n {config}\n }}\n }}\n"
        )
    };
    let named = wanted.replace(":1", ":${NOMAD_META_version}").replace("wanted", "${var.app}");
    // In a quoted text the job's own `${var.app}` is known when the file is read, the other reference for each task.
    let tasks = [
        task("missing", &format!("image = \"{missing}\"\n {auth}")),
        task("wanted", &format!("image = \"{named}\"\n {auth}")),
        task("local", &format!("image = \"{}\"", image())),
        task("archived", "image = \"longshore-test/archived:1\"\n load = \"image.tar\""),
    ];
    let job =
        format!("variable \"app\" {{}}\njob \"all\" {{\n group \"g\" {{\n count = 2\n {}}}\n}}\n", tasks.concat());
    let file = machine.file("job.hcl", &job);
    let prefetch = ["prefetch", "-var", "app=wanted", file.to_str().unwrap()];

    let first = machine.run(&prefetch);
    let (said, errors) = (text(&first.stdout), text(&first.stderr));
    assert_eq!(first.status.code(), Some(1), "{errors}");
    assert_eq!(said.lines().count(), 3, "{said}");
    let pulled = if has_containerd_store() { "" } else { "1.0 MiB in " };
    assert!(said.contains(&format!("{wanted}: pulled {pulled}")), "{said}");
    assert!(said.contains(&format!("{}: already present\n", image())), "{said}");
    assert!(said.contains("longshore-test/archived:1: loaded from an archive when the task starts\n"), "{said}");
    assert!(errors.contains(&format!("Error: Failed to pull `{missing}`: ")), "{errors}");
    assert!(errors.contains(if has_containerd_store() { "not found" } else { "manifest unknown" }), "{errors}");
    assert!(errors.ends_with(&format!("Error: not fetched: {missing}\n")), "{errors}");
    assert!(errors.contains(&format!("==> {wanted}: ")) && !errors.contains('\x1b'), "{errors}");
    assert!(is_local(&wanted) && !errors.contains(PASSWORD));

    let again = machine.run(&[&["-json"], prefetch.as_slice()].concat());
    let results: Vec<Value> = text(&again.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let result = |name: &str| results.iter().find(|result| result["image"] == name).unwrap()["result"].clone();
    assert_eq!((again.status.code(), results.len()), (Some(1), 4));
    assert_eq!((result(&wanted), result(&missing)), ("present".into(), "failed".into()));
    let unpinned = machine.run(&["prefetch", "-forget", &missing]);
    assert_eq!(
        (unpinned.status.code(), text(&unpinned.stdout)),
        (Some(2), String::new()),
        "what is not here is not kept"
    );
    assert!(text(&unpinned.stderr).contains(&format!("{missing} is not pinned")), "{}", text(&unpinned.stderr));
}

#[test]
fn what_cannot_be_prefetched_is_one_clear_error() {
    let machine = Machine::new();
    let away = |args: &[&str]| machine.command(args).env("DOCKER_HOST", "unix:///no/such.sock").output().unwrap();
    for (output, code, expected) in [
        (machine.run(&["prefetch", "-var", "a=b", &image()]), 2, "-var, -var-file and -env are for job files"),
        (machine.run(&["prefetch", "missing.nomad.hcl"]), 2, "failed to read missing.nomad.hcl"),
        (machine.run(&["prefetch", "No Name"]), 2, "does not match registry specification"),
        (machine.run(&["prefetch", "-forget", "app:1"]), 2, "app:1 is not pinned\nhint: pinned images: none"),
        (away(&["prefetch", &image()]), 3, "hint: start dockerd, or set DOCKER_HOST"),
        (away(&["images"]), 3, "hint: start dockerd, or set DOCKER_HOST"),
    ] {
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), String::new()), "{expected}: {said}");
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(machine.ok(&["images"]), "No images\n");
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let below = entries.flat_map(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => files(&entry.path()),
        kind if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    });
    below.collect()
}

#[test]
fn a_registrys_password_is_in_no_file_of_a_job_and_in_no_argument_of_its_processes() {
    let (mut registry, machine) = (Registry::start(Access::Password), Machine::new());
    let wanted = registry.push_new("private:1");
    let task = |name: &str, password: &str| {
        let auth = format!("auth {{\n username = \"{USERNAME}\"\n password = {password}\n }}");
        format!(
            "task \"{name}\" {{\n driver = \"docker\"\n kill_timeout = \"1ms\"\n config {{\n image = \"{wanted}\"\n \
             network_mode = \"none\"\n command = \"/bin/sleep\"\n args = [\"1000\"]\n {auth}\n }}\n }}\n"
        )
    };
    let tasks = [task("written", &format!("\"{PASSWORD}\"")), task("given", "var.password")].concat();
    let job = format!("variable \"password\" {{}}\njob \"private\" {{\n group \"g\" {{\n {tasks} }}\n}}\n");
    let file = machine.file("job.hcl", &job);

    machine.ok(&["run", "-detach", "-var", &format!("password={PASSWORD}"), file.to_str().unwrap()]);
    let data = machine.path().join("data");
    let state: Value = serde_json::from_slice(&fs::read(data.join("jobs/private/state.json")).unwrap()).unwrap();
    let handle = |task: &str| BASE64.decode(state["allocs"][0]["tasks"][task]["handle"].as_str().unwrap()).unwrap();
    let of_process = |of: &str, what: &str| {
        fs::read(format!("/proc/{}/{what}", machine.state("private")[of].as_i64().unwrap())).unwrap()
    };

    let has = |content: &[u8]| text(content).contains(PASSWORD);
    let with_it: Vec<PathBuf> =
        files(&data).into_iter().filter(|path| fs::read(path).is_ok_and(|content| has(&content))).collect();
    assert_eq!(with_it, Vec::<PathBuf>::new());
    assert!(text(&handle("given")).contains("private") && !has(&handle("given")) && !has(&handle("written")));
    for of in ["host_pid", "driver_pid"] {
        assert!(!has(&of_process(of, "cmdline")) && !has(&of_process(of, "environ")), "{of}");
    }
    machine.kill_agent("private");
    machine.ok(&["run", "-detach", "-var", &format!("password={PASSWORD}"), file.to_str().unwrap()]);
    let said = fs::read_to_string(data.join("jobs/private/agent.log")).unwrap();
    assert!(said.contains("recovering 1 allocation(s)") && !said.contains("has changed"), "{said}");
}
