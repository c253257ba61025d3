//! Any combination of job and host input yields a request or a rejection, and never a panic.

use nomad_plugin::{
    driver::{LinuxResources, NetworkPort, NetworkResource},
    msgpack::Value as Config,
};
use proptest::prelude::*;

use super::*;
use crate::{
    config::arbitrary::{configs, texts},
    glob,
    preparation::{self, host_paths::HandoverMode},
    reference::ImageReference,
};

fn ports() -> impl Strategy<Value = Vec<PortMapping>> {
    let port = (texts(), any::<i32>(), any::<i32>(), texts());
    prop::collection::vec(port.prop_map(|(label, value, to, host_ip)| PortMapping { label, value, to, host_ip }), 0..3)
}

fn resources() -> impl Strategy<Value = Resources> {
    let numbers = (any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>(), any::<f64>());
    (numbers, ports(), prop::collection::vec((texts(), any::<i32>()), 0..3)).prop_map(|(numbers, ports, legacy)| {
        let (memory_mb, memory_max_mb, cpu_shares, cpu_period, percent_ticks) = numbers;
        let reserved_ports = legacy.into_iter().map(|(label, value)| NetworkPort { label, value }).collect();
        let networks = vec![NetworkResource { ip: "127.0.0.1".into(), reserved_ports, ..NetworkResource::default() }];
        let linux = LinuxResources { cpu_shares, cpu_period, percent_ticks, ..LinuxResources::default() };
        let allocated = AllocatedResources { memory_mb, memory_max_mb, networks, ..AllocatedResources::default() };
        Resources { allocated: Some(allocated), linux: Some(linux), ports }
    })
}

fn with_image(config: Config) -> Config {
    match config {
        Config::Map(mut fields) => {
            fields.insert("image".to_owned(), Config::String("busybox:1".into()));
            Config::Map(fields)
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn any_configuration_becomes_a_request_or_a_rejection(
        config in configs(&task_schema()),
        plugin in configs(&plugin_schema()),
        resources in resources(),
        total_mhz in any::<u64>(),
        cgroup_version in 0u8..3,
    ) {
        let Ok(options) = TaskOptions::parse(&encode(&with_image(config))) else { return Ok(()) };
        let plugin = PluginConfig::parse(&encode(&plugin)).unwrap_or_default();
        let task = Case::new("").task(|task| task.resources = Some(resources)).task;
        let files = preparation::prepare(&task, &options, &plugin, &mut HandoverMode::ByName(&[]));
        let machine = Machine { total_mhz, cgroup_version, cores: 2, cpus: 2 };
        let api = ApiVersion { major: 1, minor: 44 };
        let runtimes = &["runc".to_owned()];
        let request = create_request(&Request { task: &task, options: &options, plugin: &plugin, machine, runtimes, api, files });
        if let Err(error) = request {
            prop_assert!(!error.0.is_empty());
        }
    }

    #[test]
    fn any_text_is_an_image_or_none(image in texts()) {
        if let Some(reference) = ImageReference::parse(&image) {
            let named = ImageReference::parse(&reference.to_string()).unwrap();
            prop_assert!(named.is_same(&reference));
            prop_assert_eq!(reference.written(), image);
        }
    }

    #[test]
    fn a_glob_matches_what_its_stars_may_stand_for(pattern in "[ab*?.]{0,8}", text in "[ab?.]{0,12}") {
        let stars: Vec<String> = pattern.split('*').map(regex::escape).collect();
        let expected = regex::Regex::new(&format!("^{}$", stars.join(".*"))).unwrap().is_match(&text);
        prop_assert_eq!(glob::matches(&pattern, &text), expected, "{} and {}", pattern, text);
    }

    #[test]
    fn a_glob_of_many_stars_takes_no_time(stars in 0usize..2000, text in "a{0,2000}") {
        let pattern = "*a".repeat(stars);
        prop_assert_eq!(glob::matches(&pattern, &text), text.len() >= stars && (stars > 0 || text.is_empty()));
    }
}
