//! No container gets more than its operator allows, whatever its job says.

use std::collections::BTreeMap;

use nomad_plugin::{driver::Driver, msgpack::Value};
use proptest::prelude::*;
use serde_json::json;

use crate::case::{Case, failed, object, paused, text};

type Fields = BTreeMap<String, Value>;

const CAPS: [&str; 12] = [
    "all",
    "ALL",
    "CAP_ALL",
    " all ",
    "sys_admin",
    "CAP_SYS_ADMIN",
    "cap_net_raw",
    "NET_RAW",
    "chown",
    "Kill",
    "sys_ptrace",
    "",
];
const MODES: [&str; 8] = ["host", "private", "none", "shareable", "container:web", "container:", "Host", ""];
const RUNTIMES: [&str; 5] = ["runc", "nvidia", "kata", "io.containerd.runc.v2", ""];

fn some_of(texts: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let of_list = move |some: Vec<&str>| Value::List(some.into_iter().map(text).collect());
    prop::collection::vec(prop::sample::select(texts), 0..4).prop_map(of_list)
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::sample::select(texts).prop_map(text)
}

/// A random subset of the options with values.
fn fields(options: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = Fields> {
    let each = |(name, values): (&'static str, BoxedStrategy<Value>)| {
        prop::option::weighted(0.4, values).prop_map(move |value| Some((name.to_owned(), value?)))
    };
    let options: Vec<_> = options.into_iter().map(each).collect();
    options.prop_map(|set| set.into_iter().flatten().collect())
}

fn truths() -> BoxedStrategy<Value> {
    prop_oneof![any::<bool>().prop_map(Value::Bool), (0i64..2).prop_map(Value::Int)].boxed()
}

fn jobs() -> impl Strategy<Value = Fields> {
    fields(vec![
        ("privileged", truths()),
        ("cap_add", some_of(&CAPS).boxed()),
        ("cap_drop", some_of(&CAPS).boxed()),
        ("pid_mode", one_of(&MODES).boxed()),
        ("ipc_mode", one_of(&MODES).boxed()),
        ("uts_mode", one_of(&MODES).boxed()),
        ("userns_mode", one_of(&MODES).boxed()),
        ("runtime", one_of(&RUNTIMES).boxed()),
        ("readonly_rootfs", truths()),
    ])
}

fn operators() -> impl Strategy<Value = Fields> {
    let modes = fields(["pid", "ipc", "uts", "userns"].map(|kind| (kind, some_of(&["host"]).boxed())).into());
    fields(vec![
        ("allow_privileged", truths()),
        ("allow_caps", some_of(&CAPS).boxed()),
        ("allowed_modes", modes.prop_map(Value::Map).boxed()),
        ("allow_runtimes", some_of(&RUNTIMES).boxed()),
    ])
}

fn is_true(fields: &Fields, name: &str) -> bool {
    matches!(fields.get(name), Some(Value::Bool(true)))
        || matches!(fields.get(name), Some(Value::Int(number)) if *number != 0)
}

/// The texts of a list, or the default.
fn texts(fields: &Fields, name: &str, default: &[&str]) -> Vec<String> {
    match fields.get(name) {
        Some(Value::List(list)) => list
            .iter()
            .filter_map(|item| if let Value::String(text) = item { Some(text.clone()) } else { None })
            .collect(),
        _ => default.iter().map(|&text| text.to_owned()).collect(),
    }
}

/// As the engine compares them.
fn capability(name: &str) -> String {
    name.trim().to_uppercase().trim_start_matches("CAP_").to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn no_configuration_gets_a_container_more_than_is_allowed(job in jobs(), operator in operators()) {
        paused(async {
            let case = Case::with_options(operator.clone()).await;
            let _refused = case.driver.start_task(case.task_with_options("web", job.clone())).await;

            for request in case.requests("POST /containers/create") {
                let host = &request.body["HostConfig"];
                let is_privileged = is_true(&operator, "allow_privileged");
                prop_assert!(is_privileged || host["Privileged"] != json!(true));
                let default = [
                    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
                    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
                ];
                let allowed: Vec<String> = texts(&operator, "allow_caps", &default).iter().map(|cap| capability(cap)).collect();
                for cap in host["CapAdd"].as_array().into_iter().flatten() {
                    let cap = capability(cap.as_str().unwrap());
                    prop_assert!(allowed.contains(&cap) || allowed.contains(&"ALL".to_owned()), "{cap} of {allowed:?}");
                }
                for (kind, option) in [("pid", "PidMode"), ("ipc", "IpcMode"), ("uts", "UTSMode"), ("userns", "UsernsMode")] {
                    let modes = match operator.get("allowed_modes") {
                        Some(Value::Map(modes)) => texts(modes, kind, &[]),
                        _ => Vec::new(),
                    };
                    prop_assert!(is_privileged || host[option] != json!("host") || modes.contains(&"host".to_owned()));
                }
                if let Some(runtime) = host["Runtime"].as_str().filter(|runtime| !runtime.is_empty()) {
                    let runtimes = texts(&operator, "allow_runtimes", &["runc", "nvidia"]);
                    prop_assert!(runtimes.iter().any(|allowed| allowed == runtime), "{runtime} of {runtimes:?}");
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_privileged_where_the_operator_allows_that_and_nowhere_else() {
    let privileged = [
        ("privileged", Value::Bool(true)),
        ("pid_mode", text("host")),
        ("cap_add", Value::List(vec![text("sys_admin")])),
    ];
    let caps = Value::List(vec![text("all")]);
    let generous = Case::with([("allow_privileged", Value::Bool(true)), ("allow_caps", caps)]).await;
    let strict = Case::new().await;

    let task = generous.task_with("web", privileged.clone());
    generous.start(&task).await;
    let error = failed(strict.driver.start_task(strict.task_with("web", privileged)).await);

    let host = &generous.container_of(&task).request["HostConfig"];
    assert_eq!(
        (&host["Privileged"], &host["PidMode"], &host["CapAdd"]),
        (&json!(true), &json!("host"), &json!(["CAP_SYS_ADMIN"]))
    );
    assert!(error.message.contains("Docker privileged mode is disabled on this Nomad agent"), "{error}");
    assert_eq!(strict.requests("POST /containers/create"), []);
    let modes = object([("pid", Value::List(vec![text("host")]))]);
    let by_mode = Case::with([("allowed_modes", modes)]).await;
    by_mode.start(&by_mode.task_with("web", [("pid_mode", text("host"))])).await;
}
