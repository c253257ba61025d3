//! Any text as an image's name and as a duration.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nomad_driver_docker::reference::ImageReference;
use nomad_plugin::duration::parse_go_duration;

fuzz_target!(|text: &str| {
    if let Some(reference) = ImageReference::parse(text) {
        assert_eq!(ImageReference::parse(&reference.to_string()), Some(reference));
    }
    if let Err(error) = parse_go_duration(text) {
        assert!(!error.to_string().is_empty());
    }
});
