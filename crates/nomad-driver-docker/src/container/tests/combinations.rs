//! Options that interact with each other and with the host's input.

use std::fmt::Write;

use nomad_plugin::driver::{Device, Mount, NetworkPort, NetworkResource};

use super::*;

/// The result of each case, under its title.
fn reported<'a>(cases: impl IntoIterator<Item = (&'a str, Case)>) -> String {
    let mut reported = String::new();
    for (title, case) in cases {
        writeln!(reported, "# {title}\n{}", case.changes()).unwrap();
    }
    reported
}

#[test]
fn memory_follows_the_request_the_maximum_and_the_hard_limit() {
    let mut reported = String::new();
    for (swap, version, can_disable_swapping) in
        [("v1", 1, false), ("v1, swappiness can be set", 1, true), ("v2", 2, false)]
    {
        for max in [0, 200, -1] {
            for hard in [0, 50, 300] {
                let case = Case::new(&format!("memory_hard_limit = {hard}"))
                    .allocated(|allocated| (allocated.memory_mb, allocated.memory_max_mb) = (100, max));
                let machine = Machine { cgroup_version: version, ..case.machine };
                let files = host_files::HostFiles { can_disable_swapping, ..case.files.clone() };
                let line = match (Case { machine, files, ..case }).request() {
                    Err(error) => format!("refused: {error}"),
                    Ok(request) => {
                        let host = request.body.host_config.unwrap();
                        let mib = |bytes: Option<i64>| bytes.unwrap() >> 20;
                        let (hard, reserved) = (mib(host.memory), mib(host.memory_reservation));
                        let (swap, swappiness) = (mib(host.memory_swap), host.memory_swappiness);
                        format!("limit {hard}, reservation {reserved}, with swap {swap}, swappiness {swappiness:?}")
                    }
                };
                writeln!(reported, "{swap}: memory 100, memory_max {max}, memory_hard_limit {hard}: {line}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(reported);
}

#[test]
fn processors_follow_weight_period_and_the_machine() {
    let huge = |case: Case| Case { machine: Machine { total_mhz: 1 << 20, ..case.machine }, ..case };
    let quarter = |config: &str| Case::new(config).linux(|l| (l.percent_ticks, l.cpu_period) = (0.25, 50_000));
    insta::assert_snapshot!(reported([
        (
            "4000 MHz of a million are scaled to the kernel's greatest weight",
            huge(Case::new("").linux(|l| l.cpu_shares = 4000))
        ),
        ("1 MHz of a million is the least weight", huge(Case::new("").linux(|l| l.cpu_shares = 1))),
        ("no MHz at all are the least weight", Case::new("").linux(|l| l.cpu_shares = 0)),
        ("a quarter without a hard limit", quarter("cpu_cfs_period = 2000000")),
        ("a quarter of two processors", quarter("cpu_hard_limit = true")),
        ("a quarter, in Nomad's period", quarter("cpu_hard_limit = true\ncpu_cfs_period = 0")),
        ("a quarter, in a period too long", quarter("cpu_hard_limit = true\ncpu_cfs_period = 1000001")),
    ]));
}

#[test]
fn reserved_cores_and_the_shared_ones_are_set_and_the_option_is_not() {
    let cores = |config: &str, cpuset: Option<&str>| {
        let case = Case::new(config);
        let files = host_files::HostFiles { cpuset: cpuset.map(str::to_owned), ..case.files.clone() };
        Case { files, ..case }
    };
    insta::assert_snapshot!(reported([
        ("cores of the task, or of all tasks", cores("", Some("0-2,5"))),
        ("the same beside the option", cores("cpuset_cpus = \"7\"", Some("0-2,5"))),
        ("the option alone", cores("cpuset_cpus = \"7\"", None)),
    ]));
}

#[test]
fn capabilities_follow_what_is_asked_and_what_is_allowed() {
    let caps = |plugin: &str, task: &str| Case::new(task).plugin(plugin);
    insta::assert_snapshot!(reported([
        ("nothing is asked, little is allowed", caps("allow_caps = [\"chown\"]", "")),
        ("nothing is asked, all is allowed", caps("allow_caps = [\"all\"]", "")),
        ("nothing is asked, nothing is allowed", caps("allow_caps = []", "")),
        ("one that is allowed, in any spelling", caps("allow_caps = [\" CAP_NET_RAW\"]", "cap_add = [\"Net_Raw\"]")),
        ("two that are not allowed", caps("", "cap_add = [\"sys_time\", \"net_admin\", \"chown\"]")),
        ("all where all is allowed", caps("allow_caps = [\"ALL\"]", "cap_add = [\"all\"]")),
        ("all where all is not", caps("", "cap_add = [\"all\"]")),
        ("all dropped, one kept", caps("", "cap_drop = [\"all\"]\ncap_add = [\"chown\"]")),
        ("added and dropped", caps("", "cap_add = [\"chown\"]\ncap_drop = [\"chown\"]")),
    ]));
}

#[test]
fn ports_are_published_where_the_network_is_the_containers_own() {
    let ports = |mode: &str| Case::new(&format!("ports = [\"http\"]\nnetwork_mode = \"{mode}\""));
    let without_to = |resources: &mut Resources| resources.ports[0].to = 0;
    insta::assert_snapshot!(reported([
        ("no mode", ports("")),
        ("the port inside is that of the host", ports("").resources(without_to)),
        ("bridge", ports("bridge")),
        ("host", ports("host")),
        ("a network", ports("net")),
        ("another container's", ports("container:other")),
        ("the group's", ports("").in_a_group()),
        ("a mode of its own in a group", ports("bridge").in_a_group()),
    ]));
}

#[test]
fn legacy_networks_are_published_whole_and_mapped_by_label() {
    let port = |label: &str, value| NetworkPort { label: label.into(), value };
    let legacy = |config: &str| {
        Case::new(config).allocated(|allocated| {
            allocated.networks = vec![NetworkResource {
                ip: "127.0.0.1".into(),
                reserved_ports: vec![port("db", 5432)],
                dynamic_ports: vec![port("my-http", 20000), port("twin", 20001)],
                ..NetworkResource::default()
            }];
        })
    };
    insta::assert_snapshot!(reported([
        ("no map", legacy("")),
        ("a map", legacy("port_map {\n  my-http = 80\n}")),
        ("two ports of the host on one of the container", legacy("port_map {\n  my-http = 80\n  twin = 80\n}")),
        ("ports of the group go before", legacy("port_map {\n  my-http = 80\n}\nports = [\"http\"]")),
    ]));
}

#[test]
fn volumes_are_paths_of_the_host_or_names_by_their_driver() {
    const SELINUX: &str = "volumes {\n  enabled = true\n  selinuxlabel = \"Z\"\n}";
    const ENABLED: &str = "volumes {\n  enabled = true\n}";
    const VOLUMES: &str = "volumes = [\"data:/a\", \"./x/../y:/b:ro\", \"/srv//z/:/c\", \"../up:/d:ro,z\"]";
    const BIND: &str = "mount {\n  type = \"bind\"\n  source = \"data\"\n  target = \"/a\"\n}";
    const VOLUME: &str = "mount {\n  source = \"data\"\n  target = \"/a\"\n}";
    let with_driver = format!("{VOLUMES}\nvolume_driver = \"nfs\"");
    insta::assert_snapshot!(reported([
        ("paths", Case::new(VOLUMES).plugin(ENABLED)),
        ("paths with a label", Case::new(VOLUMES).plugin(SELINUX)),
        ("names", Case::new(&with_driver).plugin(ENABLED)),
        ("names with a label", Case::new(&with_driver).plugin(SELINUX)),
        ("a bind with a label", Case::new(BIND).plugin(SELINUX)),
        ("a volume with a label", Case::new(VOLUME).plugin(SELINUX)),
        ("paths of the allocation where volumes are not enabled", Case::new("volumes = [\"local/x:/x\"]")),
    ]));
}

#[test]
fn mounts_come_in_a_fixed_order() {
    const OWN: &str =
        "mounts = [{ type = \"tmpfs\", target = \"/second\" }]\nmount {\n  type = \"tmpfs\"\n  target = \"/first\"\n}";
    let mount = |propagation: &str| Mount {
        task_path: format!("/in-{propagation}"),
        host_path: "/out".into(),
        readonly: true,
        propagation_mode: propagation.into(),
        ..Mount::default()
    };
    let mut case =
        Case::new(OWN).task(|task| task.mounts = ["", "private", "host-to-task", "bidirectional"].map(mount).into());
    case.files.hosts = Some("/allocs/a1/hosts".into());
    case.files.resolv_conf = Some("/allocs/a1/web/resolv.conf".into());
    let body = case.body();

    insta::assert_json_snapshot!(body["HostConfig"]["Mounts"]);
}

#[test]
fn devices_of_the_job_come_before_nomads() {
    let device =
        Device { task_path: "/dev/gpu".into(), host_path: "/dev/gpu0".into(), cgroup_permissions: "rw".into() };
    let case = Case::new("devices {\n  host_path = \"/dev/null\"\n}").task(|task| task.devices = vec![device]);
    insta::assert_snapshot!(case.changes());
}

#[test]
fn nomads_dns_replaces_the_tasks() {
    const DNS: &str = "dns_servers = [\"10.1.1.1\"]\ndns_search_domains = [\"corp\"]\ndns_options = [\"ndots:2\"]";
    let mut with_nomads = Case::new(DNS).task(|task| task.dns = Some(nomad_plugin::driver::Dns::default()));
    with_nomads.files.resolv_conf = Some("/allocs/a1/web/resolv.conf".into());
    insta::assert_snapshot!(reported([("the task's alone", Case::new(DNS)), ("beside Nomad's", with_nomads)]));
}

#[test]
fn hosts_of_the_task_are_in_the_groups_file_where_there_is_one() {
    let mut grouped = Case::new("extra_hosts = [\"db:10.0.0.9\"]").in_a_group();
    let alone = reported([("in a group without a name", Case::new("extra_hosts = [\"db:10.0.0.9\"]").in_a_group())]);
    grouped.files.hosts = Some("/allocs/a1/hosts".into());
    insta::assert_snapshot!(format!("{alone}{}", reported([("in a group with one", grouped)])));
}

#[test]
fn logging_is_the_plugins_only_where_the_task_says_nothing() {
    const SYSLOG: &str = "logging {\n  type = \"syslog\"\n  config {\n    tag = \"all\"\n  }\n}";
    let logging = |config: &str| Case::new(config).plugin(SYSLOG);
    insta::assert_snapshot!(reported([
        ("nothing", logging("")),
        ("an empty block", logging("logging {}")),
        ("a type", logging("logging {\n  type = \"journald\"\n}")),
        ("a driver", logging("logging {\n  driver = \"journald\"\n}")),
        ("a type and a driver", logging("logging {\n  type = \"journald\"\n  driver = \"gelf\"\n}")),
        (
            "options alone go to the engine's default driver",
            logging("logging {\n  config {\n    max-size = \"1m\"\n  }\n}")
        ),
        ("empty options are options", logging("logging {\n  config {}\n}")),
    ]));
}

#[test]
fn names_and_addresses_are_of_the_network_that_the_task_is_in() {
    const NAMED: &str = "network_aliases = [\"web\"]\nipv4_address = \"10.0.0.7\"\nipv6_address = \"fd00::7\"\nmac_address = \"0200.5e00.5301\"";
    insta::assert_snapshot!(reported([
        ("no mode", Case::new(NAMED)),
        ("a network", Case::new(&format!("{NAMED}\nnetwork_mode = \"net\""))),
        ("the group's", Case::new(NAMED).in_a_group()),
    ]));
}

#[test]
fn a_gpu_decides_the_runtime() {
    let gpu = |config: &str| {
        Case::new(config).task(|task| {
            task.device_env.insert("NVIDIA_VISIBLE_DEVICES".into(), "0".into());
        })
    };
    insta::assert_snapshot!(reported([
        ("a gpu", gpu("")),
        ("a gpu and its runtime", gpu("runtime = \"nvidia\"")),
        ("a gpu and another runtime", gpu("runtime = \"runc\"")),
        ("a gpu whose runtime the engine lacks", gpu("").plugin("nvidia_runtime = \"none\"")),
        ("a gpu whose runtime is not allowed", gpu("").plugin("allow_runtimes = [\"runc\"]")),
        ("a runtime that is not allowed", Case::new("runtime = \"kata\"")),
    ]));
}

#[test]
fn process_limits_are_bounded_by_the_plugins() {
    let pids =
        |plugin: i64, task: i64| Case::new(&format!("pids_limit = {task}")).plugin(&format!("pids_limit = {plugin}"));
    insta::assert_snapshot!(reported([
        ("none, none", pids(0, 0)),
        ("the plugin's", pids(100, 0)),
        ("the task's below it", pids(100, 50)),
        ("the task's above it", pids(100, 150)),
        ("no limit is the plugin's", pids(100, -1)),
        ("less than no limit", pids(100, -5)),
    ]));
}

#[test]
fn the_kernels_mercy_is_the_tasks_before_the_plugins() {
    let score = |config: &str| Case::new(config).plugin("oom_score_adj = 500");
    insta::assert_snapshot!(reported([
        ("the plugin's", score("")),
        ("the task's", score("oom_score_adj = -10")),
        ("the task's, which is none", score("oom_score_adj = 0")),
        ("more than there is", score("oom_score_adj = 1001")),
    ]));
}
