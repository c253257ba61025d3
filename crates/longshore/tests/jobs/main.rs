//! Jobs run by the real program with the real driver, as a person does it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent;
mod bars;
mod bridge;
mod closed;
mod commands;
mod detach;
mod gc;
mod groups;
mod hostile;
mod images;
mod life;
mod mistakes;
mod orphans;
mod planted;
mod status;
mod stops;
mod strangers;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use conformance::{docker::docker, driver_binary, image};
use serde_json::Value;
use wait::blocking::{until as wait_until, until_within as wait_within};

/// A data directory and the program that uses it. What a failed test leaves running is ended with it.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("longshore-cli-").tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(args).env("LONGSHORE_DATA_DIR", self.path().join("data")).env("LONGSHORE_PLUGIN", driver_binary());
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn state(&self, job: &str) -> Value {
        serde_json::from_str(&self.ok(&["status", "-json", job])).unwrap()
    }

    /// What the job's agent has noted for the next one.
    fn noted(&self, job: &str) -> Value {
        let file = self.path().join("data/jobs").join(job).join("state.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    fn task<'a>(state: &'a Value, name: &str) -> &'a Value {
        &state["allocs"][0]["tasks"][name]
    }

    /// The container of an allocation's task `t`, where there is one.
    fn container(alloc: &str) -> String {
        docker(&["ps", "--quiet", "--filter", &format!("label=com.hashicorp.nomad.alloc_id={alloc}")])
    }

    /// Kills one of a job's processes with SIGKILL.
    fn kill_process_of(&self, job: &str, of: &str) {
        conformance::kill([self.state(job)[of].as_i64().unwrap().try_into().unwrap()]);
    }

    /// Kills a job's agent and its driver with SIGKILL, before either could do anything.
    fn kill_agent_and_driver(&self, job: &str) {
        let state = self.state(job);
        conformance::kill(["host_pid", "driver_pid"].map(|of| state[of].as_i64().unwrap().try_into().unwrap()));
    }

    fn logs(&self, job: &str) -> String {
        self.ok(&["logs", job])
    }

    /// Kills a job's agent with SIGKILL, and waits until it has exited.
    fn kill_agent(&self, job: &str) {
        let agent = || self.state(job)["host_pid"].as_i64();
        conformance::kill([agent().unwrap().try_into().unwrap()]);
        wait_until("the agent's end", || agent().is_none());
    }

    /// The allocations' directories.
    fn allocs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path().join("data/alloc")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        // What tasks see of their logs is beside them.
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// The containers of all allocations in the data directory.
    fn containers(&self) -> Vec<String> {
        let of = |alloc: String| {
            docker(&["ps", "--all", "--quiet", "--filter", &format!("label=com.hashicorp.nomad.alloc_id={alloc}")])
        };
        let found: String = self.allocs().into_iter().map(of).collect();
        found.lines().map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for job in std::fs::read_dir(self.path().join("data/jobs")).into_iter().flatten().flatten() {
            let _ended = self.run(&["stop", job.file_name().to_str().unwrap_or_default()]);
        }
        for container in self.containers() {
            docker(&["rm", "--force", "--volumes", &container]);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn job(id: &str, script: &str, more: &str) -> String {
    format!(
        "job \"{id}\" {{\n  group \"g\" {{\n    task \"t\" {{\n      driver = \"docker\"\n      {more}\n      config {{\n        \
         image = \"{}\"\n        network_mode = \"none\"\n        command = \"/bin/sh\"\n        args = [\"-c\", <<-EOF\n{script}\nEOF\n        ]\n      }}\n    }}\n  }}\n}}\n",
        image()
    )
}
