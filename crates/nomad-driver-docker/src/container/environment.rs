//! The container's environment.

use std::collections::BTreeMap;

use nomad_plugin::driver::TaskConfig;

use crate::config::TaskOptions;
use crate::names::clean_label;

/// The task's environment, in which the ports of a `port_map` are the container's.
pub(super) fn environment(task: &TaskConfig, options: &TaskOptions) -> BTreeMap<String, String> {
    let mut env = task.env.clone();
    for (label, port) in &options.port_map {
        env.insert(format!("NOMAD_PORT_{}", clean_label(label)), port.to_string());
    }
    env
}
