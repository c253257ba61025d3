//! What Docker itself says, asked through its command line.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::LABEL;

/// Runs `docker` and returns its output; fails with its error.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether the engine has an image.
pub fn is_local(image: &str) -> bool {
    Command::new("docker").args(["image", "inspect", image]).output().unwrap().status.success()
}

/// Whether the engine has its images in containerd's store.
pub fn has_containerd_store() -> bool {
    docker(&["info", "--format", "{{.DriverStatus}}"]).contains("io.containerd.snapshotter")
}

/// All that Docker says of a container.
pub fn inspect(container: &str) -> Value {
    let all: Value = serde_json::from_str(&docker(&["inspect", "--type", "container", container])).unwrap();
    all[0].clone()
}

/// The names of containers in any state that a fixture made, by its directory.
pub fn containers_of(directory: &Path) -> Vec<String> {
    let filter = format!("label={LABEL}={}", directory.display());
    let names = docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
    names.lines().map(str::to_owned).collect()
}
