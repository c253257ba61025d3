//! The program that runs, and what it finds itself to be.

use conformance::{Fixture, docker::inspect};
use serde_json::json;

#[tokio::test]
async fn what_the_job_says_of_the_process_reaches_docker() {
    let fixture = Fixture::configured("extra_labels = [\"job_*\", \"task_name\"]").await;
    let config = r#"
        command    = "sleep"
        args       = ["1000"]
        entrypoint = ["/bin/busybox"]
        labels     = { team = "web" }
        healthchecks { disable = true }
    "#;
    let mut task = fixture.job("web", "", config).await;
    task.config.user = "nobody".into();
    fixture.run(&task).await;

    let inspected = inspect(&task.container());
    let config = &inspected["Config"];
    assert_eq!((&config["Cmd"], &config["Entrypoint"]), (&json!(["sleep", "1000"]), &json!(["/bin/busybox"])));
    assert_eq!((&config["User"], &config["Healthcheck"]["Test"]), (&json!("nobody"), &json!(["NONE"])));
    let labels = &config["Labels"];
    assert_eq!(labels["com.hashicorp.nomad.alloc_id"], task.config.alloc_id.as_str());
    assert_eq!(
        (&labels["com.hashicorp.nomad.job_name"], &labels["com.hashicorp.nomad.task_name"], &labels["team"]),
        (&json!("test"), &json!("web"), &json!("web"))
    );
    assert_eq!(labels["com.hashicorp.nomad.namespace"], json!(null));
    fixture.end().await;
}

#[tokio::test]
async fn a_task_finds_itself_as_the_job_describes_it() {
    let fixture = Fixture::start().await;
    let script = "pwd; hostname; id -G; echo $ZED; readlink /proc/1/exe; touch /x 2>&1";
    let config = r#"
        work_dir        = "/tmp"
        hostname        = "inside"
        group_add       = ["1234"]
        init            = true
        readonly_rootfs = true
    "#;
    let mut task = fixture.job("web", script, config).await;
    task.config.env.insert("ZED".into(), "last".into());

    let said = fixture.output(&task).await;

    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(&lines[..4], ["/tmp", "inside", "0 1234", "last"]);
    assert_eq!(&lines[4..], ["/sbin/docker-init", "touch: /x: Read-only file system"]);
    fixture.end().await;
}

#[tokio::test]
async fn a_terminal_is_there_only_on_demand_and_so_is_an_open_standard_input() {
    let fixture = Fixture::start().await;
    let script = "if [ -t 1 ]; then echo a terminal; else echo none; fi; readlink /proc/self/fd/0; exec sleep 1000";
    let with = fixture.job("with", script, "tty = true\ninteractive = true").await;
    let without = fixture.job("without", script, "").await;
    fixture.run(&with).await;
    fixture.run(&without).await;

    with.pipes.stdout.wait_for_text("a terminal\r\n/dev/pts/0");
    without.pipes.stdout.wait_for_text("none\n/dev/null");
    assert_eq!(inspect(&with.container())["Config"]["OpenStdin"], true);
    assert_eq!(inspect(&without.container())["Config"]["OpenStdin"], false);
    fixture.end().await;
}

#[tokio::test]
async fn logging_is_the_jobs_or_else_the_operators() {
    let fixture =
        Fixture::configured("logging {\n  type = \"json-file\"\n  config {\n    max-size = \"3m\"\n  }\n}").await;
    let operators = fixture.job("operators", "exec sleep 1000", "").await;
    let own = "logging {\n  type = \"local\"\n  config {\n    max-size = \"1m\"\n  }\n}";
    let jobs = fixture.job("jobs", "exec sleep 1000", own).await;
    let by_driver = fixture.job("driver", "exec sleep 1000", "logging {\n  driver = \"none\"\n}").await;
    let both = "logging {\n  type = \"local\"\n  driver = \"none\"\n}";
    let by_type = fixture.job("type", "exec sleep 1000", both).await;
    for task in [&operators, &jobs, &by_driver, &by_type] {
        fixture.run(task).await;
    }

    let log_config = |container: &str| inspect(container)["HostConfig"]["LogConfig"].clone();
    assert_eq!(log_config(&operators.container()), json!({ "Type": "json-file", "Config": { "max-size": "3m" } }));
    assert_eq!(log_config(&jobs.container()), json!({ "Type": "local", "Config": { "max-size": "1m" } }));
    assert_eq!(log_config(&by_driver.container())["Type"], "none");
    assert_eq!(log_config(&by_type.container())["Type"], "local");
    fixture.end().await;
}

#[tokio::test]
async fn an_isolation_mode_is_refused() {
    let fixture = Fixture::start().await;

    let rejection = fixture.refused(&fixture.job("web", "", "isolation = \"process\"").await).await.message;

    let expected = "Failed to create container configuration, cannot use isolation mode \"process\" on linux";
    assert!(rejection.contains(expected), "{rejection}");
    fixture.end().await;
}
