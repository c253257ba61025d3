//! Tasks for which no request can be created.

use nomad_plugin::driver::{NetworkPort, NetworkResource};

use super::*;
use crate::preparation::{self, host_paths::HandoverMode};

fn rejection(case: &Case) -> String {
    case.request().unwrap_err()
}

#[test]
fn ports_that_cannot_be_mapped_are_errors() {
    let unknown = "ports = [\"x\"]";
    let mapped = "port_map {\n  http = 80\n}";
    let without = |resources: &mut Resources| resources.ports.clear();

    assert_eq!(rejection(&Case::new(unknown)), "Port \"x\" not found, check network block");
    assert_eq!(rejection(&Case::new(unknown).in_a_group()), "Port \"x\" not found, check network block");
    assert_eq!(rejection(&Case::new(unknown).resources(without)), "Port \"x\" not found, check network block");
    assert_eq!(rejection(&Case::new(mapped)), "'port_map' cannot map group network ports, use 'ports' instead");
    assert_eq!(
        rejection(&Case::new(mapped).resources(without)),
        "Trying to map ports but no network interface is available"
    );
    assert_eq!(
        rejection(&Case::new("ports = [\"x\", \"http\", \"y\"]")),
        "Port \"x\" not found, check network block; Port \"y\" not found, check network block"
    );
    let beside = |inside: &str| Case::new(&format!("ports = [\"http\"]\nport_map {{\n  {inside}\n}}"));
    assert!(beside("http = 80").request().is_ok(), "it says what the group says");
    for contradiction in ["http = 81", "htpp = 80"] {
        let label = &contradiction[..4];
        assert_eq!(
            rejection(&beside(contradiction)),
            format!("'port_map' cannot map group network ports, use 'ports' instead: {label:?}")
        );
    }
    let legacy = Case::new("port_map {\n  htpp = 80\n}").allocated(|allocated| {
        let port = NetworkPort { label: "http".into(), value: 20000 };
        allocated.networks = vec![NetworkResource { dynamic_ports: vec![port], ..NetworkResource::default() }];
    });
    assert_eq!(rejection(&legacy), "port_map: Port \"htpp\" not found, check network block");
    let bad_host = Case::new("ports = [\"http\"]").resources(|resources| resources.ports[0].host_ip = "host".into());
    assert_eq!(rejection(&bad_host), "invalid host address \"host\" of port 8080");
}

#[test]
fn a_task_without_resources_is_an_error() {
    assert_eq!(rejection(&Case::new("").task(|task| task.resources = None)), "task.Resources is empty");
    let no_linux = Case::new("").resources(|resources| resources.linux = None);
    assert_eq!(rejection(&no_linux), "task.Resources.LinuxResources is empty");
}

#[test]
fn everything_that_is_refused_is_reported_at_once() {
    let case = Case::new(
        "privileged = true\nipc_mode = \"host\"\npid_mode = \"host\"\ncap_add = [\"net_admin\"]\nruntime = \"kata\"\nports = [\"typo\"]\n\
         memory_hard_limit = 1\nvolume_driver = \"nfs\"",
    );
    let expected = [
        "Port \"typo\" not found, check network block",
        "cannot apply \"ipc_mode\" configuration",
        "cannot apply \"pid_mode\" configuration",
        "driver does not allow the following capabilities: net_admin",
        "Docker privileged mode is disabled on this Nomad agent",
        "requested runtime \"kata\" is not allowed",
        "volumes are not enabled; cannot use volume driver \"nfs\"",
        "task memory requirements exceed driver hard limit of 1 MB",
    ];
    assert_eq!(rejection(&case), expected.join("; "));
}

#[test]
fn what_is_refused_of_the_hosts_files_is_reported_with_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    for own in ["alloc/logs", "web/local", "web/secrets"] {
        std::fs::create_dir_all(directory.path().join(own)).unwrap();
    }
    let config = "privileged = true\nvolumes = [\"/etc:/a\", \"/srv:/b\"]\nsecurity_opt = [\"odd\", \"seccomp=none\"]\n\
                  sysctl = { \"kernel.x\" = \"1\" }";
    let mut case = Case::new(config).plugin("allow_sysctls = []");
    case.task.alloc_dir = directory.path().display().to_string();
    let options = TaskOptions::parse(&msgpack(&format!("image = \"x:1\"\n{config}"), &task_schema())).unwrap();
    let plugin = PluginConfig::parse(&msgpack(&case.plugin, &plugin_schema())).unwrap();
    case.files = preparation::prepare(&case.task, &options, &plugin, &mut HandoverMode::ByName(&[]));

    let expected = [
        "sysctl \"kernel.x\" is not allowed by the plugin option allow_sysctls",
        "failed to parse security_opt configuration: invalid security_opt: \"odd\"",
        "failed to parse security_opt configuration: opening seccomp profile (none) failed: No such file or directory \
         (os error 2)",
        "volumes are not enabled; cannot mount host path: \"/etc:/a\"",
        "volumes are not enabled; cannot mount host path: \"/srv:/b\"",
        "Docker privileged mode is disabled on this Nomad agent",
    ];
    assert_eq!(rejection(&case), expected.join("; "));
}

#[test]
fn names_and_addresses_need_a_network_of_the_tasks_own() {
    let named = "network_aliases = [\"web\"]\nipv4_address = \"10.0.0.2\"";
    let expected = "network_aliases, ipv4_address: a task in the network of another container has none of its own";

    assert_eq!(rejection(&Case::new(named).in_a_group()), expected);
    assert_eq!(rejection(&Case::new(&format!("{named}\nnetwork_mode = \"container:x\""))), expected);
    assert!(Case::new(&format!("{named}\nnetwork_mode = \"web\"")).in_a_group().request().is_ok());
}

#[test]
fn volumes_need_the_operators_leave() {
    let driver = Case::new("volume_driver = \"local\"\nvolumes = [\"v:/v\"]");
    assert_eq!(rejection(&driver), "volumes are not enabled; cannot use volume driver \"local\"");
    let volume = Case::new("mount {\n  source = \"v\"\n  target = \"/v\"\n}");
    assert_eq!(rejection(&volume), "volumes are not enabled; cannot mount volume: \"v\"");
}

#[test]
fn an_engine_before_25_takes_no_address_of_a_network_card() {
    let old = Case { api: ApiVersion { major: 1, minor: 43 }, ..Case::new("mac_address = \"02:00:5e:00:53:01\"") };
    let expected = "\"specify mac-address per network\" requires API version 1.44, but the Docker daemon API version \
                    is 1.43";
    assert_eq!(rejection(&old), expected);
}

#[test]
fn a_mount_of_nomad_has_a_propagation_that_is_known() {
    let mount = nomad_plugin::driver::Mount { propagation_mode: "sideways".into(), ..Default::default() };
    let case = Case::new("").task(|task| task.mounts = vec![mount]);
    assert_eq!(rejection(&case), "unknown mount propagation mode \"sideways\"");
}
