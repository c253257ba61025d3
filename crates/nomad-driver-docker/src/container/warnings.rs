//! Plugin configuration that is allowed but has no effect: a warning, because existing agents run with it.

use super::{labels, security};
use crate::config::PluginConfig;
use crate::glob;

/// One message per warning, with the path.
pub fn warnings(plugin: &PluginConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, pattern) in plugin.extra_labels.iter().enumerate() {
        if !labels::EXTRA.iter().any(|name| glob::matches(pattern, name)) {
            let known = labels::EXTRA.join(", ");
            warnings.push(format!("extra_labels[{index}]: {pattern:?} matches none of {known}"));
        }
    }
    for (index, capability) in plugin.allow_caps.iter().enumerate() {
        if !security::is_capability(capability) {
            warnings.push(format!("allow_caps[{index}]: {capability:?} is no capability"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_and_a_capability_that_do_not_exist_are_doubted() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let plugin = PluginConfig {
            extra_labels: texts(&["job_*", "jobname", "*"]),
            allow_caps: texts(&["CAP_CHOWN", "all", "net-raw"]),
            ..PluginConfig::default()
        };

        let expected = [
            "extra_labels[1]: \"jobname\" matches none of job_name, job_id, parent_job_id, task_group_name, task_name, \
             namespace, node_name, node_id",
            "allow_caps[2]: \"net-raw\" is no capability",
        ];
        assert_eq!(warnings(&plugin), expected);
        assert_eq!(warnings(&PluginConfig::default()), Vec::<String>::new());
    }
}
