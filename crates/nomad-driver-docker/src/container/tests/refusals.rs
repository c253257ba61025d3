//! Tasks of which no request can be made.

use super::*;

fn refusal(case: &Case) -> String {
    case.request().unwrap_err()
}

#[test]
fn ports_that_cannot_be_mapped_are_errors() {
    let unknown = "ports = [\"x\"]";
    let mapped = "port_map {\n  http = 80\n}";
    let without = |resources: &mut Resources| resources.ports.clear();

    assert_eq!(refusal(&Case::new(unknown)), "Port \"x\" not found, check network block");
    assert_eq!(refusal(&Case::new(unknown).in_a_group()), "Port \"x\" not found, check network block");
    assert_eq!(refusal(&Case::new(unknown).resources(without)), "Port \"x\" not found, check network block");
    assert_eq!(refusal(&Case::new(mapped)), "'port_map' cannot map group network ports, use 'ports' instead");
    assert_eq!(
        refusal(&Case::new(mapped).resources(without)),
        "Trying to map ports but no network interface is available"
    );
    let bad_host = Case::new("ports = [\"http\"]").resources(|resources| resources.ports[0].host_ip = "host".into());
    assert_eq!(refusal(&bad_host), "invalid host address \"host\" of port 8080");
}

#[test]
fn a_task_without_resources_is_an_error() {
    assert_eq!(refusal(&Case::new("").task(|task| task.resources = None)), "task.Resources is empty");
    let no_linux = Case::new("").resources(|resources| resources.linux = None);
    assert_eq!(refusal(&no_linux), "task.Resources.LinuxResources is empty");
}

#[test]
fn everything_that_is_refused_is_told_at_once() {
    let case = Case::new(
        "privileged = true\npid_mode = \"host\"\ncap_add = [\"net_admin\"]\nruntime = \"kata\"\nports = [\"typo\"]\n\
         memory_hard_limit = 1\nvolume_driver = \"nfs\"",
    );
    let expected = [
        "Port \"typo\" not found, check network block",
        "cannot apply \"pid_mode\" configuration",
        "driver does not allow the following capabilities: net_admin",
        "volumes are not enabled; cannot use volume driver \"nfs\"",
        "Docker privileged mode is disabled on this Nomad agent",
        "requested runtime \"kata\" is not allowed",
        "task memory requirements exceed driver hard limit of 1 MB",
    ];
    assert_eq!(refusal(&case), expected.join("; "));
}

#[test]
fn volumes_need_the_operators_leave() {
    let driver = Case::new("volume_driver = \"local\"\nvolumes = [\"v:/v\"]");
    assert_eq!(refusal(&driver), "volumes are not enabled; cannot use volume driver \"local\"");
    let volume = Case::new("mount {\n  source = \"v\"\n  target = \"/v\"\n}");
    assert_eq!(refusal(&volume), "volumes are not enabled; cannot mount volume: \"v\"");
}

#[test]
fn an_engine_before_25_takes_no_address_of_a_network_card() {
    let old = Case { api: ApiVersion { major: 1, minor: 43 }, ..Case::new("mac_address = \"02:00:5e:00:53:01\"") };
    let expected = "\"specify mac-address per network\" requires API version 1.44, but the Docker daemon API version \
                    is 1.43";
    assert_eq!(refusal(&old), expected);
}

#[test]
fn a_mount_of_nomad_has_a_propagation_that_is_known() {
    let mount = nomad_plugin::driver::Mount { propagation_mode: "sideways".into(), ..Default::default() };
    let case = Case::new("").task(|task| task.mounts = vec![mount]);
    assert_eq!(refusal(&case), "unknown mount propagation mode \"sideways\"");
}
