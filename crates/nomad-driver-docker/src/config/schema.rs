//! The schemas that Nomad decodes HCL against.

use std::time::Duration;

use nomad_plugin::hclspec::{Spec, Type};

use super::plugin::{Logging, PluginConfig};
use crate::reference;

fn list(item: Type) -> Type {
    Type::List(Box::new(item))
}

/// Accepts a block, an object and a list of maps.
fn maps(value: Type) -> Type {
    list(Type::Map(Box::new(value)))
}

/// An object whose children are named after their attributes or blocks.
fn object(children: impl IntoIterator<Item = Spec>) -> Spec {
    Spec::Object(children.into_iter().map(|child| (name(&child).to_owned(), child)).collect())
}

fn name(spec: &Spec) -> &str {
    match spec {
        Spec::Attr { name, .. }
        | Spec::Block { name, .. }
        | Spec::BlockAttrs { name, .. }
        | Spec::BlockList { name, .. }
        | Spec::BlockSet { name, .. }
        | Spec::BlockMap { name, .. } => name,
        Spec::Default { primary, .. } => name(primary),
        Spec::Object(_) | Spec::Array(_) | Spec::Literal(_) => "",
    }
}

fn text(name: &str) -> Spec {
    Spec::attr(name, Type::String)
}

fn texts(name: &str) -> Spec {
    Spec::attr(name, list(Type::String))
}

fn number(name: &str) -> Spec {
    Spec::attr(name, Type::Number)
}

fn truth(name: &str) -> Spec {
    Spec::attr(name, Type::Bool)
}

fn block<const N: usize>(name: &str, children: [Spec; N]) -> Spec {
    Spec::block(name, object(children))
}

/// A default duration in HCL, in whole minutes.
fn time(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    if minutes.is_multiple_of(60) { format!("\"{}h\"", minutes / 60) } else { format!("\"{minutes}m\"") }
}

/// The schema of `plugin "docker" { config { ... } }`.
pub fn plugin_schema() -> Spec {
    let default = PluginConfig::default();
    let (gc, dangling) = (&default.gc, &default.gc.dangling);
    let dangling_default = format!(
        "{{ enabled = {}, period = {}, creation_grace = {}, dry_run = {}, unlabelled = {} }}",
        dangling.enabled,
        time(dangling.period),
        time(dangling.creation_grace),
        dangling.dry_run,
        dangling.unlabelled
    );
    let gc_default = format!(
        "{{ image = {}, image_delay = {}, container = {}, dangling_containers = {dangling_default} }}",
        gc.image,
        time(gc.image_delay),
        gc.container
    );
    let dangling = block(
        "dangling_containers",
        [
            truth("enabled").or(&dangling.enabled.to_string()),
            text("period").or(&time(dangling.period)),
            text("creation_grace").or(&time(dangling.creation_grace)),
            truth("dry_run").or(&dangling.dry_run.to_string()),
            truth("unlabelled").or(&dangling.unlabelled.to_string()),
        ],
    )
    .or(&dangling_default);
    let gc = block(
        "gc",
        [
            truth("image").or(&gc.image.to_string()),
            text("image_delay").or(&time(gc.image_delay)),
            truth("container").or(&gc.container.to_string()),
            dangling,
        ],
    )
    .or(&gc_default);
    let Logging { driver, options } = &default.logging;
    let options = options.iter().map(|(name, value)| format!("{name} = {value:?}")).collect::<Vec<_>>().join(", ");
    let logging = block("logging", [text("type"), Spec::block_attrs("config", Type::String)])
        .or(&format!("{{ type = {driver:?}, config = {{ {options} }} }}"));
    let [pid, ipc, userns, uts] = ["pid", "ipc", "userns", "uts"].map(|kind| texts(kind).or("[]"));
    object([
        text("endpoint"),
        block("auth", [text("config"), text("helper")]),
        block("tls", [text("cert"), text("key"), text("ca")]),
        texts("extra_labels"),
        logging,
        gc,
        block("volumes", [truth("enabled"), text("selinuxlabel")])
            .or(&format!("{{ enabled = {} }}", default.volumes.enabled)),
        truth("allow_privileged"),
        texts("allow_caps").or(&format!("{:?}", default.allow_caps)),
        text("nvidia_runtime").or(&format!("{:?}", default.nvidia_runtime)),
        texts("allow_runtimes").or(&format!("{:?}", default.allow_runtimes)),
        text("infra_image").or(&format!("{:?}", reference::written(&default.infra_image))),
        text("infra_image_pull_timeout").or(&time(default.infra_image_pull_timeout)),
        text("image_pull_timeout").or(&time(default.image_pull_timeout)),
        text("image_pull_timeout_max").or(&time(default.image_pull_timeout_max)),
        number("container_exists_attempts").or(&default.container_exists_attempts.to_string()),
        number("oom_score_adj").or(&default.oom_score_adj.to_string()),
        text("pull_activity_timeout").or(&time(default.pull_activity_timeout)),
        number("max_parallel_pulls").or(&default.max_parallel_pulls.to_string()),
        truth("verify_cached_image_access"),
        number("pids_limit"),
        truth("disable_log_collection"),
        truth("windows_allow_insecure_container_admin"),
        // Without defaults, like the next ones: an unset list allows everything, an empty one nothing.
        block("allowed_modes", [pid, ipc, userns, uts, texts("network")]),
        texts("allow_devices"),
        texts("allow_security_opt"),
        texts("allow_sysctls"),
        texts("allow_images"),
        texts("allow_logging"),
        texts("allow_seccomp_profiles"),
        texts("load_dirs"),
        number("load_max_mb"),
        text("state_dir"),
    ])
}

fn mount_body() -> Spec {
    object([
        text("type").or("\"volume\""),
        text("target"),
        text("source"),
        truth("readonly"),
        block("bind_options", [text("propagation")]),
        block("tmpfs_options", [number("size"), number("mode")]),
        block(
            "volume_options",
            [
                truth("no_copy"),
                Spec::attr("labels", maps(Type::String)),
                block("driver_config", [text("name"), Spec::attr("options", maps(Type::String))]),
            ],
        ),
    ])
}

/// The schema of a task's `config` block.
pub fn task_schema() -> Spec {
    let devices = [text("host_path"), text("container_path"), text("cgroup_permissions")];
    let network = [text("name"), texts("aliases"), text("ipv4_address"), text("ipv6_address")];
    let logging = [text("type"), text("driver"), Spec::attr("config", maps(Type::String))];
    object([
        Spec::required_attr("image", Type::String),
        text("image_pull_timeout"),
        text("load"),
        truth("force_pull"),
        block("auth", [text("username"), text("password"), text("email"), text("server_address")]),
        truth("auth_soft_fail"),
        text("command"),
        texts("args"),
        texts("entrypoint"),
        text("work_dir"),
        text("hostname"),
        truth("tty"),
        truth("interactive"),
        truth("init"),
        truth("readonly_rootfs"),
        texts("group_add"),
        number("shm_size"),
        Spec::block_attrs("storage_opt", Type::String),
        Spec::attr("sysctl", maps(Type::String)),
        text("cgroupns"),
        text("runtime"),
        text("mac_address"),
        texts("cap_add"),
        texts("cap_drop"),
        truth("cpu_hard_limit"),
        number("cpu_cfs_period").or("100000"),
        text("cpuset_cpus"),
        number("container_exists_attempts"),
        number("memory_hard_limit"),
        number("oom_score_adj"),
        number("pids_limit"),
        Spec::attr("ulimit", maps(Type::String)),
        Spec::block_list("devices", object(devices)),
        texts("dns_servers"),
        texts("dns_search_domains"),
        texts("dns_options"),
        texts("extra_hosts"),
        block("healthchecks", [truth("disable")]),
        text("isolation"),
        Spec::attr("labels", maps(Type::String)),
        block("logging", logging),
        Spec::block_list("mount", mount_body()),
        Spec::block_list("mounts", mount_body()),
        texts("volumes"),
        text("volume_driver"),
        text("network_mode"),
        texts("network_aliases"),
        text("ipv4_address"),
        text("ipv6_address"),
        Spec::block_list("networks", object(network)),
        truth("advertise_ipv6_address"),
        text("advertise_network"),
        texts("ports"),
        Spec::attr("port_map", maps(Type::Number)),
        truth("privileged"),
        text("pid_mode"),
        text("ipc_mode"),
        text("uts_mode"),
        text("userns_mode"),
        texts("security_opt"),
    ])
}

#[cfg(test)]
mod tests {
    use nomad_jobspec::{Source, decode::decode, parse_config};
    use nomad_plugin::msgpack::encode;

    use super::{PluginConfig, plugin_schema};

    #[test]
    fn what_a_host_fills_in_is_what_the_parser_takes_for_nothing() {
        let nothing = parse_config(&Source { name: "plugin.hcl".into(), text: String::new() }).unwrap();
        let filled = decode(&nothing, &plugin_schema(), &|_| None).unwrap();

        assert_eq!(PluginConfig::parse(&encode(&filled)), Ok(PluginConfig::default()));
    }

    #[test]
    fn defaults_stand_in_the_schema_as_hcl() {
        let schema = format!("{:?}", plugin_schema());

        for literal in [
            "{ type = \"json-file\", config = { max-file = \"2\", max-size = \"2m\" } }",
            "{ image = true, image_delay = \"3m\", container = true, dangling_containers = { enabled = true, period = \"5m\", \
             creation_grace = \"5m\", dry_run = false, unlabelled = true } }",
            "[\"runc\", \"nvidia\"]",
            "\"6h\"",
        ] {
            assert!(schema.contains(&format!("Literal({literal:?})")), "{literal} is not in {schema}");
        }
    }
}
