//! What the crate is built from.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, process::Command};

/// Every crate that the library is built from, by name.
fn dependencies() -> BTreeSet<String> {
    let cargo = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "nomad-jobspec", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let packages = String::from_utf8(cargo.stdout).unwrap();
    packages.lines().filter_map(|package| package.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn a_job_file_is_read_without_a_runtime_and_without_a_network() {
    let dependencies = dependencies();

    assert!(dependencies.contains("hcl-edit"), "the list is read: {dependencies:?}");
    let input_or_output = ["tokio", "tonic", "hyper", "mio", "socket2", "go-plugin", "nomad-plugin"];
    let found: Vec<&str> = input_or_output.into_iter().filter(|name| dependencies.contains(*name)).collect();
    assert_eq!(found, Vec::<&str>::new());
}
