//! Allowlists that the driver built into Nomad does not have: unset allows everything, an empty list nothing.

use std::path::PathBuf;

use super::reader::Reader;

/// What jobs may request. `None` is unset and allows everything; an empty list allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlists {
    /// Globs of `network_mode`: the plugin's `allowed_modes { network }`.
    pub network_modes: Option<Vec<String>>,
    /// Globs of the host path of `devices`: `allow_devices`.
    pub devices: Option<Vec<String>>,
    /// Globs of `security_opt` in the form `key=value`: `allow_security_opt`.
    pub security_opt: Option<Vec<String>>,
    /// Globs of the names in `sysctl`: `allow_sysctls`.
    pub sysctls: Option<Vec<String>>,
    /// Globs of full image names, such as `docker.io/library/*`: `allow_images`.
    pub images: Option<Vec<String>>,
    /// Globs of the logging drivers that jobs name: `allow_logging`.
    pub logging: Option<Vec<String>>,
    /// Directories of seccomp profiles: `allow_seccomp_profiles`. Profiles in the task's allocation need no permission.
    pub seccomp_profiles: Option<Vec<PathBuf>>,
}

impl Allowlists {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        Self {
            network_modes: reader.block("allowed_modes").and_then(|modes| modes.texts("network")),
            devices: reader.texts("allow_devices"),
            security_opt: reader.texts("allow_security_opt"),
            sysctls: reader.texts("allow_sysctls"),
            images: reader.texts("allow_images"),
            logging: reader.texts("allow_logging"),
            seccomp_profiles: reader.directories("allow_seccomp_profiles"),
        }
    }
}

#[cfg(test)]
mod tests {
    use nomad_plugin::msgpack::{Value, encode, encode_go};

    use crate::config::PluginConfig;

    fn object(fields: &[(&str, Value)]) -> Value {
        Value::Map(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn texts(texts: &[&str]) -> Value {
        Value::List(texts.iter().map(|text| Value::String((*text).to_owned())).collect())
    }

    #[test]
    fn a_list_that_is_not_set_is_no_empty_list() {
        let names = [
            "allow_devices",
            "allow_security_opt",
            "allow_sysctls",
            "allow_images",
            "allow_logging",
            "allow_seccomp_profiles",
        ];
        let lists = |value: &Value| {
            let mut fields = names.map(|name| (name, value.clone())).to_vec();
            fields.push(("allowed_modes", object(&[("pid", texts(&[])), ("network", value.clone())])));
            [encode(&object(&fields)), encode_go(&object(&fields))].map(|bytes| {
                let lists = PluginConfig::parse(&bytes).unwrap().allowlists;
                let [network, devices, images] = [lists.network_modes, lists.devices, lists.images];
                let of_text = [network, devices, lists.security_opt, lists.sysctls, images, lists.logging];
                (of_text, lists.seccomp_profiles)
            })
        };

        for unset in lists(&Value::Null) {
            assert_eq!(unset, ([const { None }; 6], None));
        }
        for empty in lists(&texts(&[])) {
            assert_eq!(empty, ([const { Some(Vec::new()) }; 6], Some(Vec::new())));
        }
        for set in lists(&texts(&["/x"])) {
            assert_eq!(set, ([0; 6].map(|_| Some(vec!["/x".to_owned()])), Some(vec!["/x".into()])));
        }
    }

    #[test]
    fn directories_of_profiles_are_absolute() {
        let config = object(&[("allow_seccomp_profiles", texts(&["/etc/nomad/seccomp", "seccomp"]))]);

        let errors = PluginConfig::parse(&encode(&config)).unwrap_err().to_string();

        assert_eq!(errors, "allow_seccomp_profiles[1]: an absolute path is needed, this is \"seccomp\"");
    }
}
