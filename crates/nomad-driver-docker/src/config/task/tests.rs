//! Configurations as a host sends them.

use std::collections::BTreeSet;

use nomad_plugin::msgpack::{Value, encode, encode_go};
use proptest::prelude::*;

use super::*;
use crate::config::{
    ConfigError, PluginConfig,
    arbitrary::{configs, options},
    plugin_schema, task_schema,
};

fn object(fields: &[(&str, Value)]) -> Value {
    Value::Map(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn parse(fields: &[(&str, Value)]) -> Result<TaskOptions, ConfigErrors> {
    TaskOptions::parse(&encode(&object(&[&[("image", text("busybox:1"))], fields].concat())))
}

#[test]
fn maps_in_a_list_are_merged_and_later_ones_win() {
    let first = object(&[("a", text("1")), ("b", text("1"))]);
    let options = parse(&[("labels", Value::List(vec![first, Value::Null, object(&[("b", text("2"))])]))]).unwrap();

    assert_eq!(options.labels, [("a".into(), "1".into()), ("b".into(), "2".into())].into());
}

#[test]
fn an_empty_logging_config_is_set_and_a_missing_one_is_not() {
    let logging = |config: Value| parse(&[("logging", object(&[("config", config)]))]).unwrap().logging;

    assert_eq!(logging(Value::Null), None);
    let empty = Some(TaskLogging { driver: String::new(), options: Some(BTreeMap::new()) });
    assert_eq!(logging(Value::List(vec![])), empty);
    assert_eq!(logging(Value::List(vec![Value::Null])), empty);
}

#[test]
fn mounts_of_every_kind_are_read() {
    let bind = object(&[
        ("type", text("bind")),
        ("source", text("x")),
        ("target", text("/x")),
        ("bind_options", object(&[("propagation", text("rshared"))])),
    ]);
    let tmpfs = object(&[
        ("type", text("tmpfs")),
        ("target", text("/t")),
        ("tmpfs_options", object(&[("size", Value::Int(1000))])),
    ]);
    let options = parse(&[("mount", Value::List(vec![bind])), ("mounts", Value::List(vec![tmpfs]))]).unwrap();

    assert_eq!(options.mounts[0].kind, MountKind::Bind(BindOptions { propagation: Some(Propagation::RShared) }));
    assert_eq!(options.mounts[1].kind, MountKind::Tmpfs(TmpfsOptions { size: Some(1000), mode: None }));
}

#[test]
fn every_error_is_reported_at_once_in_known_words() {
    let errors = TaskOptions::parse(&encode(&object(&[
        ("command", text(" ls")),
        ("image_pull_timeout", text("soon")),
        ("pids_limit", Value::Int(-5)),
        ("ulimit", Value::List(vec![object(&[("nofile", text("a:b")), ("nproc", text(""))])])),
        ("mount", Value::List(vec![object(&[("type", text("nfs"))])])),
        ("shm_size", Value::Float(1.5)),
        ("isolation", text("hyperv")),
        ("devices", Value::List(vec![object(&[("container_path", text("/d"))])])),
    ])))
    .unwrap_err()
    .to_string();

    for expected in [
        "image name required for docker driver",
        "command contains extra white space: \" ls\"",
        "Failed to parse image_pull_timeout: time: invalid duration \"soon\"",
        "pids_limit: must be -1 or more, this is -5",
        "failed to parse ulimit configuration: Malformed soft ulimit nofile: a:b",
        "failed to parse ulimit configuration: Malformed ulimit specification nproc: \"\", cannot be empty",
        "mount[0]: invalid mount type, must be \"bind\", \"volume\", \"tmpfs\": \"nfs\"",
        "failed to decode driver config: shm_size: a whole number is needed, this is a fraction",
        "Failed to create container configuration, cannot use isolation mode \"hyperv\" on linux",
        "devices[0]: host path must be set in configuration for devices",
    ] {
        assert!(errors.contains(expected), "{expected} is not in {errors}");
    }
}

#[test]
fn an_image_is_parsed_once_whatever_scheme_a_person_writes() {
    let parse =
        |image: &str| TaskOptions::parse(&encode(&object(&[("image", text(image))]))).map(|options| options.image);

    for image in ["r.test/app:1", "https://r.test/app:1"] {
        assert_eq!(parse(image).unwrap().written(), "r.test/app:1");
    }
    for invalid in ["https://", "https://https://app", "http://app", "No Image"] {
        let error = parse(invalid).unwrap_err().to_string();
        let expected = format!("local docker image {:?}: does", invalid.strip_prefix("https://").unwrap_or(invalid));
        assert!(error.contains(&expected), "{error}");
    }
}

fn texts(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(|item| text(item)).collect())
}

fn reported(parsed: Result<TaskOptions, ConfigErrors>) -> BTreeSet<String> {
    parsed.unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn what_cannot_be_meant_of_a_mount_is_an_error_with_its_path() {
    let bind = |target: &str, propagation: &str| {
        object(&[
            ("type", text("bind")),
            ("source", text("/s")),
            ("target", text(target)),
            ("bind_options", object(&[("propagation", text(propagation))])),
        ])
    };
    let tmpfs = object(&[
        ("type", text("tmpfs")),
        ("source", text("x")),
        ("target", text("/t")),
        ("tmpfs_options", object(&[("size", Value::Int(-1)), ("mode", Value::Int(-1))])),
    ]);
    let of_no_source = object(&[
        ("type", text("bind")),
        ("target", text("/n")),
        // As a host fills in what the job omits.
        (
            "volume_options",
            object(&[("no_copy", Value::Bool(false)), ("driver_config", object(&[("name", text(""))]))]),
        ),
    ]);
    let of_another_type =
        object(&[("target", text("/o")), ("tmpfs_options", object(&[("size", Value::Int(1 << 20))]))]);
    let errors = parse(&[
        ("volumes", texts(&["nowhere", "a:b", "a:/a", "b:/a/", "c:", "a:/b:z:ro", ":/c"])),
        ("mount", Value::List(vec![bind("/a", "rprivate"), bind("", "sideways"), bind("/", ""), tmpfs.clone()])),
        ("mounts", Value::List(vec![tmpfs, of_no_source, of_another_type])),
    ]);

    let expected = [
        "volumes[0]: invalid docker volume \"nowhere\": not <src>:<destination> format",
        "volumes[1]: the target must be an absolute path below /, this is \"b\"",
        "volumes[2]: duplicate mount point \"/a\": mount[0].target has it already",
        "volumes[3]: duplicate mount point \"/a/\": mount[0].target has it already",
        "volumes[4]: the target must be an absolute path below /, this is \"\"",
        "volumes[5]: invalid docker volume \"a:/b:z:ro\": more than <src>:<destination>:<mode>",
        "volumes[6]: invalid docker volume \":/c\": the source must be set",
        "mounts[1].source: must be set for a mount of type \"bind\"",
        "mounts[2].tmpfs_options: is for mounts of type \"tmpfs\", this one is of type \"volume\"",
        "mount[1].bind_options.propagation: invalid propagation mode \"sideways\", it is one of private, rprivate, \
         shared, rshared, slave, rslave",
        "mount[1].target: the target must be an absolute path below /, this is \"\"",
        "mount[2].target: the target must be an absolute path below /, this is \"/\"",
        "mount[3]: invalid source, must be \"\" for tmpfs",
        "mount[3].tmpfs_options.size: must not be negative, this is -1",
        "mount[3].tmpfs_options.mode: must not be negative, this is -1",
        "mounts[0]: invalid source, must be \"\" for tmpfs",
        "mounts[0].tmpfs_options.size: must not be negative, this is -1",
        "mounts[0].tmpfs_options.mode: must not be negative, this is -1",
        "mounts[0].target: duplicate mount point \"/t\": mount[3].target has it already",
    ];
    assert_eq!(reported(errors), expected.map(str::to_owned).into());
}

#[test]
fn a_value_that_cannot_be_meant_is_an_error_with_its_path() {
    let maps = |fields: &[(&str, Value)]| Value::List(vec![object(fields)]);
    let errors = parse(&[
        ("oom_score_adj", Value::Int(-1001)),
        ("shm_size", Value::Int(-1)),
        ("memory_hard_limit", Value::Int(-1)),
        ("container_exists_attempts", Value::Int(-1)),
        ("network_aliases", texts(&["web", " "])),
        ("ports", texts(&["http", "db", "http"])),
        ("port_map", maps(&[("db", Value::Int(0)), ("http", Value::Int(70_000))])),
        ("cgroupns", text("public")),
        ("mac_address", text("02:00-5e:00:53:01")),
        ("ipv4_address", text("10.0.0")),
        ("ipv6_address", text("10.0.0.1")),
        (
            "ulimit",
            maps(&[
                ("nofile", text("20:10")),
                ("nproc", text("-1:10")),
                ("core", text("10:-1")),
                ("rss", text("-5")),
                ("cpu", text("1:-2")),
            ]),
        ),
    ]);

    let expected = [
        "oom_score_adj: must be between -1000 and 1000, this is -1001",
        "shm_size: must not be negative, this is -1",
        "memory_hard_limit: must not be negative, this is -1",
        "container_exists_attempts: must be between 0 and 4294967295, this is -1",
        "network_aliases[1]: must be a name, this is \" \"",
        "ports[2]: \"http\" is there already",
        "port_map.db: 0 is no port",
        "port_map.http: 70000 is no port",
        "cgroupns: invalid cgroup namespace mode: \"public\"",
        "failed to parse mac_address \"02:00-5e:00:53:01\": six pairs of hexadecimal digits are needed",
        "failed to parse ipv4_address \"10.0.0\": invalid IPv4 address syntax",
        "failed to parse ipv6_address \"10.0.0.1\": invalid IPv6 address syntax",
        "failed to parse ulimit configuration: ulimit soft limit must be less than or equal to hard limit: nofile: \
         20 > 10",
        "failed to parse ulimit configuration: ulimit soft limit must be less than or equal to hard limit: nproc: \
         -1 > 10",
        "failed to parse ulimit configuration: Malformed soft ulimit rss: -5",
        "failed to parse ulimit configuration: Malformed hard ulimit cpu: 1:-2",
    ];
    assert_eq!(reported(errors), expected.map(str::to_owned).into());
}

#[test]
fn the_first_of_several_networks_is_the_place_where_no_network_mode_is() {
    let networks = |names: &[&str]| {
        let block = |name: &&str| object(&[("name", text(name)), ("aliases", Value::List(vec![text("www")]))]);
        ("networks", Value::List(names.iter().map(block).collect()))
    };
    let network =
        |name: &str| TaskNetwork { name: name.to_owned(), aliases: vec!["www".to_owned()], ..TaskNetwork::default() };

    let alone = parse(&[networks(&["front", "back"])]).unwrap();
    let beside = parse(&[("network_mode", text("web")), networks(&["front"])]).unwrap();

    assert_eq!(alone.network_mode.as_deref(), Some("front"));
    assert_eq!((alone.network_aliases, alone.networks), (vec!["www".to_owned()], vec![network("back")]));
    assert_eq!((beside.network_mode.as_deref(), beside.networks), (Some("web"), vec![network("front")]));
    assert_eq!(beside.network_aliases, Vec::<String>::new());
}

#[test]
fn networks_that_cannot_be_together_are_errors() {
    let block = |name: &str| object(&[("name", text(name)), ("ipv4_address", text("10.0"))]);
    let networks = |names: &[&str]| ("networks", Value::List(names.iter().map(|name| block(name)).collect()));
    let reported = |fields: &[(&str, Value)]| parse(fields).unwrap_err().to_string();

    let together = reported(&[networks(&["a", "a", "host", ""]), ("advertise_network", text("b"))]);
    for expected in [
        "networks[1].name: \"a\" is there already",
        "networks[2].name: \"host\" is a network mode, not a network",
        "networks[3].name: must be set",
        "networks[0]: failed to parse ipv4_address \"10.0\"",
        "advertise_network: \"b\" is no network of the task: a, a, host",
    ] {
        assert!(together.contains(expected), "{expected} is not in {together}");
    }
    for mode in ["host", "none", "container:db", "task:db"] {
        let reported = reported(&[("network_mode", text(mode)), networks(&["a"])]);
        assert!(reported.contains(&format!("networks: a task with network_mode {mode:?} can be in no other network")));
    }
    let twice = reported(&[("network_aliases", Value::List(vec![text("x")])), networks(&["a"])]);
    assert!(twice.contains("are of network_mode, which is not set; write them into a block"), "{twice}");
    assert!(reported(&[("network_mode", text("task:"))]).contains("\"task:\" needs the name of a task of the group"));
    assert!(parse(&[("advertise_network", text("bridge"))]).is_ok());
}

#[test]
fn a_network_or_a_container_has_a_name_as_dockers_rule_has_it() {
    let network = |name: &str| {
        let block = Value::Map([("name".to_owned(), text(name))].into());
        ("networks", Value::List(vec![block]))
    };
    let hostile = ["../x", "..", ".x", "-x", "_x", "a/b", "a?b", "a#b", "a%2fb", "a\\b", "a\r\nb", "a\0b", "a b", "é"];

    for name in hostile {
        let said = parse(&[network(name)]).unwrap_err().to_string();
        assert!(said.starts_with("networks[0].name: must be a name of letters, "), "{said}");
        for kind in ["container", "task"] {
            if kind == "task" && name == "a/b" {
                continue;
            }
            let said = parse(&[("network_mode", text(&format!("{kind}:{name}")))]).unwrap_err().to_string();
            assert!(said.starts_with(&format!("network_mode: the {kind} must be a name of letters, ")), "{said}");
        }
    }
    for honest in ["a", "1", "front_net-1.2", "Web"] {
        assert!(parse(&[network(honest)]).is_ok(), "{honest}");
        assert!(parse(&[("network_mode", text(&format!("container:{honest}")))]).is_ok(), "{honest}");
    }
    assert!(parse(&[("network_mode", text("task:a/b"))]).is_ok());
}

#[test]
fn an_address_of_a_network_card_has_any_of_its_usual_forms() {
    for form in ["02:00:5e:00:53:01", "02-00-5E-00-53-01", "0200.5e00.5301"] {
        assert_eq!(parse(&[("mac_address", text(form))]).unwrap().mac_address.as_deref(), Some("02:00:5e:00:53:01"));
    }
    for wrong in ["02:00:5e:00:53", "0200.5e00", "02005e005301", "02:00:5e:00:53:01:02", "é2:00:5e:00:53:01", ":::::"]
    {
        assert!(parse(&[("mac_address", text(wrong))]).is_err(), "{wrong}");
    }
}

#[test]
fn a_volume_has_a_source_a_target_and_a_mode() {
    let volumes = parse(&[("volumes", Value::List(vec![text("a:/b:ro"), text("c:/d")]))]).unwrap().volumes;
    let volume = |text: &str, source: &str, target: &str, mode: Option<&str>| Volume {
        text: text.into(),
        source: source.into(),
        target: target.into(),
        mode: mode.map(str::to_owned),
    };
    assert_eq!(volumes, [volume("a:/b:ro", "a", "/b", Some("ro")), volume("c:/d", "c", "/d", None)]);
}

#[test]
fn a_password_is_never_shown() {
    let auth = object(&[("username", text("u")), ("password", text("hunter2"))]);
    let options = parse(&[("auth", auth)]).unwrap();

    assert_eq!(options.auth.as_ref().unwrap().password, "hunter2");
    assert!(!format!("{options:?}").contains("hunter2"));
}

#[test]
fn a_process_limit_of_minus_one_is_none() {
    assert_eq!(parse(&[("pids_limit", Value::Int(-1))]).unwrap().pids_limit, 0);
    assert_eq!(parse(&[("pids_limit", Value::Int(7))]).unwrap().pids_limit, 7);
}

#[test]
fn the_period_is_looked_at_only_where_it_has_an_effect() {
    let period = ("cpu_cfs_period", Value::Int(2_000_000));

    assert_eq!(parse(std::slice::from_ref(&period)).unwrap().cpu_cfs_period, 2_000_000);
    let errors = parse(&[period, ("cpu_hard_limit", Value::Bool(true))]).unwrap_err();
    assert_eq!(errors.to_string(), "invalid value for cpu_cfs_period");
}

#[test]
fn an_error_within_a_list_or_a_map_names_the_element() {
    let args = Value::List(vec![text("a"), Value::Int(1)]);
    let ports = Value::List(vec![object(&[("http", text("80"))])]);
    let errors = parse(&[("args", args), ("port_map", ports), ("mac_address", text("+1:02:03:04:05:06"))]);

    assert_eq!(
        errors.unwrap_err().to_string(),
        "failed to decode driver config: args[1]: a string is needed, this is a number; \
         failed to parse mac_address \"+1:02:03:04:05:06\": six pairs of hexadecimal digits are needed; \
         failed to decode driver config: port_map.http: a whole number is needed, this is a string"
    );
}

/// Whether an error names an option, in its path or its message.
fn names(error: &ConfigError, option: &str) -> bool {
    error.to_string().contains(option)
}

proptest! {
    #[test]
    fn both_dialects_of_a_task_mean_the_same_whatever_is_in_them(value in configs(&task_schema())) {
        prop_assert_eq!(TaskOptions::parse(&encode(&value)), TaskOptions::parse(&encode_go(&value)));
    }

    #[test]
    fn both_dialects_of_the_plugin_mean_the_same_whatever_is_in_them(value in configs(&plugin_schema())) {
        prop_assert_eq!(PluginConfig::parse(&encode(&value)), PluginConfig::parse(&encode_go(&value)));
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _either = (TaskOptions::parse(&bytes), PluginConfig::parse(&bytes));
    }

    #[test]
    fn every_error_of_a_task_names_its_option((option, value) in options(task_schema())) {
        let image = ("image".to_owned(), text("busybox:1"));
        let value = Value::Map([image, (option.clone(), value)].into());
        for error in TaskOptions::parse(&encode(&value)).err().map(|errors| errors.0).unwrap_or_default() {
            prop_assert!(names(&error, &option), "{} does not name {}", error, option);
        }
    }

    #[test]
    fn every_error_of_the_plugin_names_its_option((option, value) in options(plugin_schema())) {
        let value = Value::Map([(option.clone(), value)].into());
        for error in PluginConfig::parse(&encode(&value)).err().map(|errors| errors.0).unwrap_or_default() {
            prop_assert!(names(&error, &option), "{} does not name {}", error, option);
        }
    }
}
