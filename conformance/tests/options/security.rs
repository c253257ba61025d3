//! What a task may do beyond the ordinary, seen from within.

use conformance::{Fixture, docker::inspect};
use serde_json::json;

/// Bits of capabilities(7).
const CHOWN: u64 = 0;
const NET_ADMIN: u64 = 12;
const NET_RAW: u64 = 13;
const MKNOD: u64 = 27;

/// The capabilities that a task has.
async fn capabilities(fixture: &Fixture, name: &str, config: &str) -> impl Fn(u64) -> bool + use<> {
    let task = fixture.job(name, "grep CapEff /proc/self/status", config).await;
    let said = fixture.output(&task).await;
    let all = said.trim().strip_prefix("CapEff:\t").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let all = all.unwrap_or_else(|| panic!("{said}"));
    move |capability| all >> capability & 1 == 1
}

#[tokio::test]
async fn a_task_has_the_capabilities_that_it_asks_for_and_may_have() {
    let fixture = Fixture::configured("allow_caps = [\"chown\", \"mknod\", \"CAP_NET_ADMIN\"]").await;

    let plain = capabilities(&fixture, "plain", "").await;
    let more = capabilities(&fixture, "more", "cap_add = [\"net_admin\"]\ncap_drop = [\"mknod\"]").await;
    let none = capabilities(&fixture, "none", "cap_drop = [\"all\"]").await;

    assert_eq!([CHOWN, NET_ADMIN, NET_RAW, MKNOD].map(&plain), [true, false, false, true]);
    assert_eq!([CHOWN, NET_ADMIN, NET_RAW, MKNOD].map(&more), [true, true, false, false]);
    assert!((0..64).all(|capability| !none(capability)));
    let rejection =
        fixture.refused(&fixture.job("raw", "", "cap_add = [\"net_raw\", \"SYS_TIME\"]").await).await.message;
    assert!(rejection.ends_with("driver does not allow the following capabilities: net_raw, sys_time"), "{rejection}");
    fixture.end().await;
}

#[tokio::test]
async fn a_privileged_task_runs_or_the_host_has_no_such_rights_to_give() {
    let fixture = Fixture::configured("allow_privileged = true").await;
    let task = fixture.job("web", "exec sleep 1000", "privileged = true").await;

    match fixture.attempt(&task).await {
        Ok(_) => assert_eq!(inspect(&task.container())["HostConfig"]["Privileged"], true),
        // dockerd itself may be in a sandbox: it gives every right only where it has every right.
        Err(error) => assert!(error.to_string().contains("unable to apply caps: operation not permitted"), "{error}"),
    }
    fixture.end().await;
}

#[tokio::test]
async fn security_options_hold_in_the_task() {
    let fixture = Fixture::start().await;
    let script = "grep -e NoNewPrivs -e Seccomp: /proc/self/status";
    let plain = fixture.job("plain", script, "").await;
    let options = "security_opt = [\"no-new-privileges\", \"seccomp=unconfined\"]";
    let strict = fixture.job("strict", script, options).await;

    assert_eq!(fixture.output(&plain).await, "NoNewPrivs:\t0\nSeccomp:\t2\n");
    assert_eq!(fixture.output(&strict).await, "NoNewPrivs:\t1\nSeccomp:\t0\n");
    let wrong = fixture.refused(&fixture.job("wrong", "", "security_opt = [\"nonsense\"]").await).await.message;
    let expected = "failed to parse security_opt configuration: invalid security_opt: \"nonsense\"";
    assert!(wrong.ends_with(expected), "{wrong}");
    fixture.end().await;
}

#[tokio::test]
async fn namespaces_are_the_hosts_where_that_is_allowed() {
    let fixture = Fixture::configured(
        "allowed_modes {\n  pid = [\"host\"]\n  ipc = [\"host\"]\n  uts = [\"host\"]\n  userns = [\"host\"]\n}",
    )
    .await;
    let modes = ["pid", "ipc", "uts", "userns"].map(|kind| format!("{kind}_mode = \"host\"")).join("\n");
    let script = "for kind in pid ipc uts user cgroup; do readlink /proc/self/ns/$kind; done";
    let task = fixture.job("web", script, &format!("{modes}\ncgroupns = \"private\"")).await;
    let private = fixture.job("private", script, "cgroupns = \"host\"").await;

    let (shared, own) = (fixture.output(&task).await, fixture.output(&private).await);

    let host = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (shared, own) = (lines(&shared), lines(&own));
    assert_eq!(shared[..4], ["pid", "ipc", "uts", "user"].map(host));
    for (kind, mine) in ["pid", "ipc", "uts"].into_iter().zip(&own) {
        assert_ne!(*mine, host(kind), "{kind}");
    }
    assert_eq!(own[4], host("cgroup"));
    assert_ne!(shared[4], own[4]);
    fixture.end().await;
}

#[tokio::test]
async fn a_device_is_there_with_the_rights_that_the_job_gives() {
    let fixture = Fixture::start().await;
    let config = r#"
        devices {
          host_path = "/dev/null"
          container_path = "/dev/nothing"
          cgroup_permissions = "r"
        }
        devices {
          host_path = "/dev/zero"
        }
    "#;
    let task = fixture.job("web", "head -c 3 /dev/zero | wc -c; ls -l /dev/nothing | cut -c 1", config).await;

    assert_eq!(fixture.output(&task).await, "3\nc\n");

    let expected = json!([
        { "PathOnHost": "/dev/null", "PathInContainer": "/dev/nothing", "CgroupPermissions": "r" },
        { "PathOnHost": "/dev/zero", "PathInContainer": "/dev/zero", "CgroupPermissions": "rwm" },
    ]);
    assert_eq!(inspect(&task.container())["HostConfig"]["Devices"], expected);
    fixture.end().await;
}

#[tokio::test]
async fn a_runtime_is_one_that_is_allowed_and_a_gpus_decides() {
    let fixture = Fixture::configured("allow_runtimes = [\"runc\"]\nnvidia_runtime = \"runc\"").await;
    let named = fixture.job("named", "exec sleep 1000", "runtime = \"runc\"").await;
    let mut gpu = fixture.job("gpu", "exec sleep 1000", "").await;
    gpu.config.device_env.insert("NVIDIA_VISIBLE_DEVICES".into(), "0".into());
    fixture.run(&named).await;
    fixture.run(&gpu).await;
    let other = fixture.refused(&fixture.job("other", "", "runtime = \"kata\"").await).await.message;

    for task in [&named, &gpu] {
        assert_eq!(inspect(&task.container())["HostConfig"]["Runtime"], "runc");
    }
    assert!(other.ends_with("requested runtime \"kata\" is not allowed"), "{other}");
    fixture.end().await;
}
