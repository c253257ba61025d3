//! What a task may use, asked of the kernel from within.

use std::{fs, path::PathBuf};

use conformance::{
    Fixture, LABEL, Task,
    docker::{docker, inspect},
    image,
};
use serde_json::json;

#[tokio::test]
async fn memory_is_limited_to_the_most_that_is_allowed_and_the_rest_reserved() {
    let fixture = Fixture::start().await;
    let mut task = fixture.job("web", "exec sleep 1000", "memory_hard_limit = 200").await;
    task.config.resources.as_mut().unwrap().allocated.as_mut().unwrap().memory_max_mb = 150;
    fixture.run(&task).await;
    let mut unlimited = fixture.job("unlimited", "exec sleep 1000", "").await;
    unlimited.config.resources.as_mut().unwrap().allocated.as_mut().unwrap().memory_max_mb = -1;
    fixture.run(&unlimited).await;
    let plain = fixture.job("plain", "exec sleep 1000", "").await;
    fixture.run(&plain).await;
    let too_little = fixture.refused(&fixture.job("little", "", "memory_hard_limit = 100").await).await.message;

    let of = |container: &str| {
        let host = inspect(container)["HostConfig"].clone();
        ["Memory", "MemoryReservation", "MemorySwap"].map(|name| host[name].as_i64().unwrap_or_default() >> 20)
    };
    assert_eq!(of(&task.container()), [200, 128, 200]);
    assert_eq!(of(&unlimited.container())[..2], [0, 128]);
    assert_eq!(of(&plain.container()), [128, 0, 128]);
    assert!(too_little.contains("task memory requirements exceed driver hard limit of 100 MB"), "{too_little}");
    fixture.end().await;
}

#[tokio::test]
async fn a_hard_limit_of_the_processor_is_a_quota_in_its_period() {
    let fixture = Fixture::start().await;
    let processors = i64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let limited = fixture.job("limited", "exec sleep 1000", "cpu_hard_limit = true\ncpu_cfs_period = 50000").await;
    let weighted = fixture.job("weighted", "exec sleep 1000", "").await;
    fixture.run(&limited).await;
    fixture.run(&weighted).await;

    let given = |container: &str| {
        let host = inspect(container)["HostConfig"].clone();
        ["CpuShares", "CpuPeriod", "CpuQuota"].map(|name| host[name].as_i64().unwrap_or_default())
    };
    // A tenth of all processors.
    assert_eq!(given(&limited.container()), [100, 50_000, 5_000 * processors]);
    assert_eq!(given(&weighted.container()), [100, 0, 0]);
    fixture.end().await;
}

#[tokio::test]
async fn limits_of_the_kernel_arrive_in_the_task() {
    let fixture = Fixture::configured("pids_limit = 100\noom_score_adj = 500").await;
    let script = "ulimit -n; ulimit -Hn; ulimit -c; df -k /dev/shm | tail -1 | awk '{ print $2 }'; \
                  cat /proc/sys/net/ipv4/ip_default_ttl /proc/self/oom_score_adj";
    let config = r#"
        ulimit        = { nofile = "100:200", core = "0" }
        shm_size      = 1048576
        sysctl        = { "net.ipv4.ip_default_ttl" = "33" }
        oom_score_adj = 300
        pids_limit    = 50
    "#;
    let own = fixture.job("own", script, config).await;
    let plugins = fixture.job("plugins", "cat /proc/self/oom_score_adj", "").await;

    let said = fixture.output(&own).await;
    let plugins_said = fixture.output(&plugins).await;

    assert_eq!(said.lines().collect::<Vec<_>>(), ["100", "200", "0", "1024", "33", "300"]);
    assert_eq!(plugins_said, "500\n");
    let pids = |container: &str| inspect(container)["HostConfig"]["PidsLimit"].clone();
    assert_eq!((pids(&own.container()), pids(&plugins.container())), (json!(50), json!(100)));
    let above = fixture.refused(&fixture.job("above", "", "pids_limit = 101").await).await.message;
    assert!(above.contains("pids_limit cannot be greater than nomad plugin config pids_limit: 100"), "{above}");
    fixture.end().await;
}

#[tokio::test]
async fn a_storage_option_reaches_the_engine_which_knows_whether_it_can() {
    let fixture = Fixture::start().await;
    let task = fixture.job("web", "exec sleep 1000", "storage_opt {\n  size = \"1G\"\n}").await;

    match fixture.attempt(&task).await {
        Ok(_) => assert_eq!(inspect(&task.container())["HostConfig"]["StorageOpt"], json!({ "size": "1G" })),
        // Of most file systems.
        Err(error) => assert!(error.to_string().contains("storage-opt"), "{error}"),
    }
    fixture.end().await;
}

/// A control group of the test's own in the place of Nomad's.
struct SharedGroup(PathBuf);

impl SharedGroup {
    fn make(processors: &str) -> Self {
        let root = PathBuf::from("/sys/fs/cgroup");
        let own = if root.join("cpuset").is_dir() { root.join("cpuset") } else { root };
        let group = Self(own.join(format!("longshore-test-{}", std::process::id())));
        fs::create_dir(&group.0).unwrap();
        group.set(processors);
        group
    }

    fn set(&self, processors: &str) {
        fs::write(self.0.join("cpuset.cpus"), processors).unwrap();
    }
}

impl Drop for SharedGroup {
    fn drop(&mut self) {
        let _reported_by_the_next_run = fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn tasks_without_cores_of_their_own_follow_the_processors_that_they_share() {
    let group = SharedGroup::make("0");
    let fixture = Fixture::start().await;
    let script = "while :; do grep Cpus_allowed_list /proc/self/status; sleep 0.1; done";
    let mut shared = fixture.job("shared", script, "").await;
    shared.config.resources.as_mut().unwrap().linux.as_mut().unwrap().cpuset_cgroup = group.0.display().to_string();
    let mut reserved = fixture.job("reserved", script, "cpuset_cpus = \"1\"").await;
    {
        let linux = reserved.config.resources.as_mut().unwrap().linux.as_mut().unwrap();
        group.0.display().to_string().clone_into(&mut linux.cpuset_cgroup);
        linux.cpuset_cpus = "0".into();
    }
    fixture.run(&shared).await;
    fixture.run(&reserved).await;
    let last = |text: &str| text.lines().last().map(|line| line.replace("Cpus_allowed_list:\t", ""));
    shared.pipes.stdout.wait_for_text("Cpus_allowed_list:\t0\n");

    group.set("0-1");
    shared.pipes.stdout.wait_for_text("Cpus_allowed_list:\t0-1\n");
    group.set("1");
    shared.pipes.stdout.wait_for_text("Cpus_allowed_list:\t1\n");

    for container in [shared.container(), reserved.container()] {
        assert_eq!(inspect(&container)["HostConfig"]["CpusetCpus"], "0", "what was so when it was made");
    }
    assert_eq!(last(&reserved.pipes.stdout.text()).as_deref(), Some("0"));
    fixture.end().await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_tried_as_often_as_the_task_says_or_else_the_plugin() {
    let fixture = Fixture::configured("container_exists_attempts = 0").await;
    // As an earlier run of each would have left them.
    let make = |task: &Task| {
        let alloc = format!("com.hashicorp.nomad.alloc_id={}", task.config.alloc_id);
        let node = format!("com.hashicorp.nomad.node_id={}", task.config.node_id);
        docker(&[
            "create",
            "--label",
            LABEL,
            "--label",
            &alloc,
            "--label",
            &node,
            "--name",
            &task.container(),
            &image(),
        ])
    };
    let plugins = fixture.job("plugins", "exec sleep 1000", "").await;
    let own = fixture.job("own", "exec sleep 1000", "container_exists_attempts = 2").await;
    let in_the_way = [make(&plugins), make(&own)];

    let rejection = fixture.refused(&plugins).await.message;
    fixture.run(&own).await;

    assert!(rejection.contains("is already in use"), "{rejection}");
    assert_ne!(inspect(&own.container())["Id"], in_the_way[1].trim());
    docker(&["rm", in_the_way[0].trim()]);
    fixture.end().await;
}
