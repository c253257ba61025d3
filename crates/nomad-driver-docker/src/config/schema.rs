//! What the driver accepts: the schemas that Nomad decodes HCL against.

use nomad_plugin::hclspec::{Spec, Type};

fn list(item: Type) -> Type {
    Type::List(Box::new(item))
}

/// Accepts a block, an object and a list of maps.
fn maps(value: Type) -> Type {
    list(Type::Map(Box::new(value)))
}

/// An object of which each child is named like its attribute or block.
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

/// The architecture in Go's words, of which the default pause image's name is made.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The schema of `plugin "docker" { config { ... } }`.
pub fn plugin_schema() -> Spec {
    let dangling = block(
        "dangling_containers",
        [
            truth("enabled").or("true"),
            text("period").or("\"5m\""),
            text("creation_grace").or("\"5m\""),
            truth("dry_run").or("false"),
            truth("unlabelled").or("true"),
        ],
    )
    .or("{ enabled = true, period = \"5m\", creation_grace = \"5m\", dry_run = false, unlabelled = true }");
    let gc_default = "{ image = true, image_delay = \"3m\", container = true, dangling_containers = \
                      { enabled = true, period = \"5m\", creation_grace = \"5m\", dry_run = false, unlabelled = true } }";
    let gc = block(
        "gc",
        [truth("image").or("true"), text("image_delay").or("\"3m\""), truth("container").or("true"), dangling],
    )
    .or(gc_default);
    let logging = block("logging", [text("type"), Spec::block_attrs("config", Type::String)])
        .or("{ type = \"json-file\", config = { max-file = \"2\", max-size = \"2m\" } }");
    let caps = super::plugin::DEFAULT_CAPS.map(|cap| format!("\"{cap}\"")).join(", ");
    let [pid, ipc, userns, uts] = ["pid", "ipc", "userns", "uts"].map(|kind| texts(kind).or("[]"));
    object([
        text("endpoint"),
        block("auth", [text("config"), text("helper")]),
        block("tls", [text("cert"), text("key"), text("ca")]),
        texts("extra_labels"),
        logging,
        gc,
        block("volumes", [truth("enabled"), text("selinuxlabel")]).or("{ enabled = false }"),
        truth("allow_privileged"),
        texts("allow_caps").or(&format!("[{caps}]")),
        text("nvidia_runtime").or("\"nvidia\""),
        texts("allow_runtimes").or("[\"runc\", \"nvidia\"]"),
        text("infra_image").or(&format!("\"{}\"", default_infra_image())),
        text("infra_image_pull_timeout").or("\"5m\""),
        text("image_pull_timeout").or("\"5m\""),
        text("image_pull_timeout_max").or("\"6h\""),
        number("container_exists_attempts").or("5"),
        number("oom_score_adj").or("0"),
        text("pull_activity_timeout").or("\"2m\""),
        number("max_parallel_pulls").or("3"),
        truth("verify_cached_image_access"),
        number("pids_limit"),
        truth("disable_log_collection"),
        truth("windows_allow_insecure_container_admin"),
        // Without defaults, as the next ones: a list that is not set allows everything, an empty one nothing.
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

/// The image of pause containers where the operator names none.
pub(super) fn default_infra_image() -> String {
    format!("registry.k8s.io/pause-{}:3.3", go_arch())
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
