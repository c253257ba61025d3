//! Every option on its own.

use std::fmt::Write;

use super::*;

const VOLUMES: &str = "volumes { enabled = true }";
const PRIVILEGED: &str = "allow_privileged = true";

/// A plugin's `config` block and a task's.
const OF_TASKS: &[(&str, &str)] = &[
    ("", "args = [\"-c\", \"true\"]"),
    ("allow_caps = [\"all\"]", "cap_add = [\"net_admin\", \"CAP_SYS_TIME\"]"),
    ("", "cap_drop = [\"chown\"]"),
    ("", "cgroupns = \"private\""),
    ("", "command = \"/bin/true\""),
    ("", "cpu_cfs_period = 50000\ncpu_hard_limit = true"),
    ("", "cpu_hard_limit = true"),
    (
        "",
        "devices {\n  host_path = \"/dev/null\"\n}\ndevices {\n  host_path = \"/dev/zero\"\n  container_path = \"/dev/z\"\n  cgroup_permissions = \"r\"\n}",
    ),
    ("", "dns_options = [\"ndots:2\"]"),
    ("", "dns_search_domains = [\"corp\"]"),
    ("", "dns_servers = [\"10.1.1.1\", \"nonsense\", \"fd00::1\"]"),
    ("", "entrypoint = [\"/bin/sh\", \"-c\"]"),
    ("", "extra_hosts = [\"db:10.0.0.9\", \"six:fd00::9\"]"),
    ("", "group_add = [\"audio\", \"1000\"]"),
    ("", "healthchecks {\n  disable = true\n}"),
    ("", "hostname = \"inside\""),
    ("", "image = \"https://example.com/app:1\""),
    ("", "init = true"),
    ("", "interactive = true"),
    ("", "ipv4_address = \"10.0.0.7\""),
    ("", "ipv6_address = \"fd00::7\""),
    (PRIVILEGED, "ipc_mode = \"host\""),
    ("", "labels = { team = \"web\", \"com.hashicorp.nomad.alloc_id\" = \"mine\" }"),
    ("", "logging {\n  type = \"journald\"\n  config {\n    tag = \"x\"\n  }\n}"),
    ("", "mac_address = \"02-00-5E-00-53-01\""),
    ("", "memory_hard_limit = 128"),
    (
        "",
        "mount {\n  type = \"bind\"\n  source = \"local/in\"\n  target = \"/in\"\n  readonly = true\n  bind_options {\n    propagation = \"rslave\"\n  }\n}",
    ),
    ("", "mounts = [{ type = \"tmpfs\", target = \"/mem\", tmpfs_options = { size = 1048576, mode = 448 } }]"),
    (
        VOLUMES,
        "mount {\n  source = \"data\"\n  target = \"/data\"\n  volume_options {\n    no_copy = true\n    labels {\n      team = \"web\"\n    }\n    driver_config {\n      name = \"local\"\n      options {\n        type = \"tmpfs\"\n      }\n    }\n  }\n}",
    ),
    ("", "network_aliases = [\"web\", \"www\"]\nnetwork_mode = \"net\""),
    ("", "network_mode = \"host\""),
    ("", "network_mode = \"task:db\""),
    (
        "",
        "networks {\n  name = \"front\"\n  aliases = [\"www\"]\n  ipv6_address = \"fd00::7\"\n}\nnetworks {\n  name = \"back\"\n  ipv4_address = \"10.0.0.7\"\n}",
    ),
    ("", "network_mode = \"web\"\nadvertise_network = \"web\""),
    ("", "oom_score_adj = 300"),
    (PRIVILEGED, "pid_mode = \"host\""),
    ("", "pids_limit = 50"),
    ("", "port_map {\n  http = 80\n}"),
    ("", "ports = [\"http\"]"),
    (PRIVILEGED, "privileged = true"),
    ("", "readonly_rootfs = true"),
    ("", "runtime = \"runc\""),
    ("", "security_opt = [\"no-new-privileges\", \"label=disable\"]"),
    ("", "shm_size = 1048576"),
    ("", "storage_opt {\n  size = \"1G\"\n}"),
    ("", "sysctl = { \"net.core.somaxconn\" = \"100\" }"),
    ("", "tty = true"),
    ("", "ulimit {\n  nofile = \"100:200\"\n  nproc = \"50\"\n}"),
    (PRIVILEGED, "userns_mode = \"host\""),
    (PRIVILEGED, "uts_mode = \"host\""),
    (VOLUMES, "volume_driver = \"local\"\nvolumes = [\"data:/data\"]"),
    ("", "volumes = [\"local/in:/in:ro\"]"),
    ("", "work_dir = \"/tmp\""),
    // None of these affects the container.
    ("", "cpuset_cpus = \"0\""),
    (
        "",
        "image_pull_timeout = \"1m\"\nload = \"app.tar\"\nforce_pull = true\nauth {\n  username = \"u\"\n  password = \"p\"\n}\nauth_soft_fail = true",
    ),
    ("", "advertise_ipv6_address = true"),
    ("", "container_exists_attempts = 9"),
    ("", "isolation = \"process\""),
];

/// Plugin's `config` blocks, each with a task's that shows it.
const OF_THE_PLUGIN: &[(&str, &str)] = &[
    ("allow_caps = [\"chown\", \"net_raw\"]", ""),
    ("allow_privileged = true", "privileged = true"),
    ("allow_runtimes = [\"kata\"]", "runtime = \"kata\""),
    ("allowed_modes {\n  pid = [\"host\"]\n}", "pid_mode = \"host\""),
    ("extra_labels = [\"job_*\", \"parent_job_id\", \"task_name\"]", ""),
    ("logging {\n  type = \"journald\"\n}", ""),
    ("oom_score_adj = 500", ""),
    ("pids_limit = 100", ""),
    ("volumes {\n  enabled = true\n  selinuxlabel = \"z\"\n}", "volumes = [\"/etc/../srv:/srv\", \"in:/in:ro\"]"),
    // None of these affects the container.
    (
        "allow_devices = []\nallow_seccomp_profiles = []\nallow_security_opt = []\nallow_sysctls = []\nallow_images = []\nallow_logging = []\nallowed_modes {\n  network = []\n}",
        "",
    ),
    ("endpoint = \"unix:///x.sock\"\ntls {\n  ca = \"/ca\"\n}\nauth {\n  helper = \"x\"\n}", ""),
    (
        "gc {\n  image = false\n}\ndisable_log_collection = true\nwindows_allow_insecure_container_admin = true\nstate_dir = \"/state\"\nload_dirs = [\"/srv/images\"]",
        "",
    ),
    (
        "image_pull_timeout = \"1m\"\nimage_pull_timeout_max = \"2m\"\nload_max_mb = 1\npull_activity_timeout = \"1m\"\ncontainer_exists_attempts = 1",
        "",
    ),
    ("max_parallel_pulls = 1\nverify_cached_image_access = true", ""),
    ("infra_image = \"pause:1\"\ninfra_image_pull_timeout = \"1m\"\nnvidia_runtime = \"gpu\"", ""),
];

fn reported(cases: &[(&str, &str)]) -> String {
    let mut reported = String::new();
    for (plugin, config) in cases {
        for line in plugin.lines() {
            writeln!(reported, "plugin: {line}").unwrap();
        }
        for line in config.lines() {
            writeln!(reported, "{line}").unwrap();
        }
        writeln!(reported, "{}", Case::new(config).plugin(plugin).changes()).unwrap();
    }
    reported
}

/// The names of a schema's options that no case sets.
fn missing(schema: Spec, cases: impl Iterator<Item = &'static str>) -> Vec<String> {
    let Spec::Object(children) = schema else { panic!("a configuration is an object") };
    let words: Vec<&str> = cases.flat_map(|hcl| hcl.lines().filter_map(|line| line.split(' ').next())).collect();
    children.into_keys().filter(|name| !words.contains(&name.as_str())).collect()
}

#[test]
fn every_option_of_a_task_has_its_place_in_the_request() {
    assert_eq!(missing(task_schema(), OF_TASKS.iter().map(|(_, config)| *config)), Vec::<String>::new());
    insta::assert_snapshot!(reported(OF_TASKS));
}

#[test]
fn every_option_of_the_plugin_has_its_place_in_the_request() {
    assert_eq!(missing(plugin_schema(), OF_THE_PLUGIN.iter().map(|(plugin, _)| *plugin)), Vec::<String>::new());
    insta::assert_snapshot!(reported(OF_THE_PLUGIN));
}

#[test]
fn a_tasks_own_number_of_attempts_precedes_the_plugins() {
    let attempts = |config: &str| Case::new(config).plugin("container_exists_attempts = 2").request().unwrap().attempts;

    assert_eq!((attempts(""), attempts("container_exists_attempts = 9")), (2, 9));
    assert_eq!(attempts("container_exists_attempts = 0"), 2, "0 is what old hosts send for unset");
}
