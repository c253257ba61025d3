//! Derived names.

use nomad_plugin::driver::TaskConfig;

/// A container's name: the task's and the allocation's.
pub(crate) fn container_name(task: &TaskConfig) -> String {
    format!("{}-{}", task.name.replace('/', "_"), task.alloc_id)
}

/// A port label as part of an environment variable's name.
pub(crate) fn clean_label(label: &str) -> String {
    let clean = |byte: u8| if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' { byte.into() } else { '_' };
    label.bytes().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_slash_and_labels_no_dash() {
        let task = TaskConfig { name: "a/b".into(), alloc_id: "id".into(), ..TaskConfig::default() };
        assert_eq!(container_name(&task), "a_b-id");
        assert_eq!(clean_label("my-port.1"), "my_port.1");
    }
}
