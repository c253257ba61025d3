//! The example with more than thirty options at once: what Docker was asked for, and what the task reports of itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

use conformance::{
    docker::{docker, inspect},
    driver_binary,
    http::answer,
    image,
};
use nomad_jobspec::{Files, Inputs, Source, parse};
use serde_json::{Value, json};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/kitchen-sink.nomad.hcl");

/// A data directory and the job in it, stopped on drop.
struct Kitchen(tempfile::TempDir);

impl Kitchen {
    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(args).env("LONGSHORE_DATA_DIR", self.0.path()).env("LONGSHORE_PLUGIN", driver_binary());
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Kitchen {
    fn drop(&mut self) {
        let mut stop = Command::new(env!("CARGO_BIN_EXE_longshore"));
        stop.args(["stop", "kitchen-sink"]).env("LONGSHORE_DATA_DIR", self.0.path());
        let _stopped_already = stop.env("LONGSHORE_PLUGIN", driver_binary()).output();
    }
}

fn containers(alloc: &str) -> String {
    docker(&["ps", "--all", "--quiet", "--filter", &format!("label=com.hashicorp.nomad.alloc_id={alloc}")])
}

#[test]
fn more_than_thirty_options_at_once_reach_docker_and_the_task() {
    let kitchen = Kitchen(tempfile::Builder::new().prefix("longshore-kitchen-").tempdir().unwrap());
    let image_variable = format!("image={}", image());

    let alloc = kitchen.run(&["run", "-detach", "-var", &image_variable, EXAMPLE]).trim().to_owned();
    let state: Value = serde_json::from_str(&kitchen.run(&["status", "-json", "kitchen-sink"])).unwrap();
    let port = &state["allocs"][0]["ports"][0]["value"];
    let page = answer(format!("127.0.0.1:{port}"), "/index.html");
    let container = inspect(containers(&alloc).trim());
    kitchen.run(&["stop", "kitchen-sink"]);

    let expected = [
        "greeting: Hello from the kitchen",
        "arguments: 2 two words",
        "directory: /tmp",
        "name: kitchen",
        "groups: 65534 1234",
        "init: /sbin/docker-init",
        "files: 100 200",
        "core: 0",
        "oom: 300",
        "ttl: 33",
        "shm: 1024",
        "tmp: 2048 1777",
        "root: touch: /x: Read-only file system",
        "pantry: bread touch: /pantry/x: Read-only file system",
        "shelf: tea touch: /shelf/x: Read-only file system",
        "privileges: 1",
        "device: written",
        "db: 10.0.0.9",
    ];
    for line in expected {
        assert!(page.lines().any(|said| said == line), "{line:?} is not in {page}");
    }
    for setting in ["nameserver 10.1.1.1", "search corp", "options ndots:2"] {
        assert!(page.contains(setting), "{setting:?} is not in {page}");
    }

    let (config, host) = (&container["Config"], &container["HostConfig"]);
    assert_eq!(
        (&config["User"], &config["OpenStdin"], &config["Tty"]),
        (&json!("nobody"), &json!(true), &json!(false))
    );
    assert_eq!(
        (&config["Entrypoint"], &config["Cmd"]),
        (&json!(["/bin/sh"]), &json!(["/local/tell.sh", "one", "two words"]))
    );
    assert_eq!(
        (&config["Healthcheck"]["Test"], &config["Labels"]["example"]),
        (&json!(["NONE"]), &json!("kitchen-sink"))
    );
    assert_eq!(host["LogConfig"], json!({ "Type": "json-file", "Config": { "max-file": "3", "max-size": "1m" } }));
    let mib = |name: &str| host[name].as_i64().unwrap() >> 20;
    assert_eq!((mib("Memory"), mib("MemoryReservation"), mib("MemorySwap")), (128, 64, 128));
    assert_eq!(
        (&host["CpuPeriod"], &host["CpuShares"], &host["PidsLimit"]),
        (&json!(100_000), &json!(500), &json!(50))
    );
    assert!(host["CpuQuota"].as_i64() > Some(0), "{}", host["CpuQuota"]);
    assert_eq!((&host["CapAdd"], &host["Runtime"]), (&json!(["CAP_CHOWN"]), &json!("runc")));
    assert_eq!(host["CapDrop"], json!(["CAP_MKNOD", "CAP_NET_RAW", "CAP_SETUID"]));
    assert_eq!((&host["CgroupnsMode"], &host["NetworkMode"]), (&json!("private"), &json!("bridge")));
    assert_eq!(containers(&alloc), "");
}

#[test]
fn the_example_has_more_than_thirty_options() {
    struct NoFiles;
    impl Files for NoFiles {
        fn read(&self, path: &Path) -> Result<String, String> {
            Err(format!("{} is not read", path.display()))
        }
        fn list(&self, directory: &Path, _: &str) -> Result<Vec<String>, String> {
            Err(format!("{} is not listed", directory.display()))
        }
    }
    let source = Source { name: EXAMPLE.into(), text: std::fs::read_to_string(EXAMPLE).unwrap() };
    let inputs = Inputs { variables: Vec::new(), variable_files: Vec::new(), files: &NoFiles, uuid: &String::new };
    let job = parse(&source, &inputs).unwrap().job;
    let config = &job.groups[0].tasks[0].config;
    let mut names: Vec<&str> = config.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    names.extend(config.blocks.iter().map(|block| block.name.as_str()));
    names.sort_unstable();
    names.dedup();

    assert!(names.len() > 30, "{} options: {names:?}", names.len());
}
