//! The log holders that a driver started.

use std::{fs, path::Path};

/// The log holders of drivers with this state directory.
pub fn holders(state: &Path) -> Vec<i32> {
    let expected = format!("docker-log-holder\0{}\0", state.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == expected);
    numbers.filter(is_ours).collect()
}
