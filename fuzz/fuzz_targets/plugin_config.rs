//! Any bytes as the plugin's configuration: read, or refused in words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nomad_driver_docker::config::PluginConfig;

fuzz_target!(|bytes: &[u8]| {
    if let Err(errors) = PluginConfig::parse(bytes) {
        assert!(!errors.to_string().is_empty());
    }
});
